// openai for Node: `node openai.mjs CELL` prints what the cell is checked by, as JSON.
import { createReadStream } from "node:fs";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { run, asked } from "./run.mjs";

const { models, texts, speech, picture } = asked;
const client = (apiKey = asked.key) => new OpenAI({ baseURL: asked.openai, apiKey, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather of a city.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

async function called(options = {}) {
  const reply = await client().chat.completions.create({
    model: models.chat, messages: user(texts.weather), tools, ...options,
  });
  const message = reply.choices[0].message;
  const call = message.tool_calls?.[0]?.function;
  return call ? { name: call.name, arguments: JSON.parse(call.arguments) } : message.content;
}

async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return { kind: error.constructor.name, text: error.message, code: error.code };
  }
  throw new Error("no error");
}

const create = (model, text, key) => client(key).chat.completions.create({ model, messages: user(text) });

run({
  chat: async () => (await create(models.chat, texts.question)).choices[0].message.content,
  stream: async () => {
    const pieces = [];
    const chunks = await client().chat.completions.create({
      model: models.chat, messages: user(texts.question), stream: true,
    });
    for await (const chunk of chunks) pieces.push(chunk.choices[0]?.delta.content ?? "");
    return pieces;
  },
  tools_required: () => called({ tool_choice: "required" }),
  tools_auto: () => called(),
  json_schema: async () => {
    const Person = z.object({ name: z.string(), age: z.number().int() });
    const reply = await client().chat.completions.parse({
      model: models.chat, messages: user(texts.person), response_format: zodResponseFormat(Person, "person"),
    });
    return reply.choices[0].message.parsed;
  },
  picture_in: async () => {
    const url = `data:image/png;base64,${picture}`;
    const parts = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url } }];
    return (await create(models.reader, parts)).choices[0].message.content;
  },
  embeddings: async () => {
    const made = await client().embeddings.create({ model: models.embedder, input: texts.alike });
    return made.data.map((row) => Array.from(row.embedding));
  },
  images: async () => {
    const made = await client().images.generate({
      model: models.painter, prompt: "a red bird", response_format: "b64_json",
    });
    return { base64: made.data[0].b64_json };
  },
  speech_to_text: async () =>
    (await client().audio.transcriptions.create({ model: models.ears, file: createReadStream(speech) })).text,
  text_to_speech: async () => {
    const made = await client().audio.speech.create({ model: models.voice, voice: "alloy", input: "Good morning." });
    return { base64: Buffer.from(await made.arrayBuffer()).toString("base64") };
  },
  errors: async () => [
    await refusal(create("nobody", texts.question)),
    await refusal(create(models.chat, texts.question, "wrong")),
  ],
  context_overflow: () => refusal(create(models.chat, texts.long)),
});
