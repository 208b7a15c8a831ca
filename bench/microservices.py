"""The same chain as microservices: FastAPI and httpx, one process each.

python -m bench.microservices PORT [URL ...]   a front end with the URLs of its steps, or a step
"""

import sys

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
port, steps = int(sys.argv[1]), sys.argv[2:]
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200, max_keepalive_connections=200))


class Text(BaseModel):
    text: str


@app.get("/trivial")
async def trivial() -> dict[str, str]:
    return {"user": "local"}


@app.post("/step")
async def step(request: Text) -> Text:
    return request


@app.post("/chain")
async def chain(request: Text) -> Text:
    text = request.text
    for url in steps:
        answer = await client.post(url, json={"text": text})
        text = answer.json()["text"]
    return Text(text=text)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)
