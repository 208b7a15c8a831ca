// The package `eventsource`: the events of a job until the stream ends by itself, with the number of connections.
import { EventSource } from "eventsource";
import { run, asked } from "./run.mjs";

run({
  events: () =>
    new Promise((resolve) => {
      const seen = [];
      let connections = 0;
      const source = new EventSource(asked.events, {
        fetch: (url, init) => {
          connections += 1;
          return fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${asked.key}` } });
        },
      });
      for (const kind of asked.kinds) source.addEventListener(kind, (event) => seen.push([kind, JSON.parse(event.data)]));
      source.addEventListener("error", () => {
        // After the last event the client connects again; a 204 tells it to stop.
        if (source.readyState === EventSource.CLOSED) resolve({ seen, connections });
      });
    }),
});
