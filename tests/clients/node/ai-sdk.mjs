// Vercel's AI SDK with its provider for services like OpenAI, and OpenAI's own for what that lacks (speech).
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  embedMany, experimental_generateSpeech as generateSpeech, experimental_transcribe as transcribe, generateImage,
  generateText, Output, streamText, tool,
} from "ai";
import { z } from "zod";
import { run, asked } from "./run.mjs";

const { models, texts, speech, picture } = asked;
const medley = (apiKey = asked.key) =>
  createOpenAICompatible({ name: "medley", baseURL: asked.openai, apiKey, supportsStructuredOutputs: true });
const openai = createOpenAI({ baseURL: asked.openai, apiKey: asked.key });
const get_weather = tool({ description: "The weather of a city.", inputSchema: z.object({ city: z.string() }) });

async function called(options = {}) {
  const made = await generateText({
    model: medley()(models.chat), prompt: texts.weather, tools: { get_weather }, ...options,
  });
  const call = made.toolCalls[0];
  return call ? { name: call.toolName, arguments: call.input } : made.text;
}

async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return { kind: `${error.name} ${error.statusCode}`, text: error.message };
  }
  throw new Error("no error");
}

const generate = (model, prompt, key) => generateText({ model: medley(key)(model), prompt, maxRetries: 0 });

run({
  chat: async () => (await generate(models.chat, texts.question)).text,
  stream: async () => {
    const pieces = [];
    for await (const piece of streamText({ model: medley()(models.chat), prompt: texts.question }).textStream)
      pieces.push(piece);
    return pieces;
  },
  tools_required: () => called({ toolChoice: "required" }),
  tools_auto: () => called(),
  json_schema: async () => {
    const schema = z.object({ name: z.string(), age: z.number().int() });
    const made = await generateText({
      model: medley()(models.chat), prompt: texts.person, output: Output.object({ schema }),
    });
    return made.output;
  },
  picture_in: async () => {
    const content = [
      { type: "text", text: "What is this?" },
      { type: "image", image: Buffer.from(picture, "base64"), mediaType: "image/png" },
    ];
    return (await generateText({ model: medley()(models.reader), messages: [{ role: "user", content }] })).text;
  },
  embeddings: async () =>
    (await embedMany({ model: medley().textEmbeddingModel(models.embedder), values: texts.alike })).embeddings,
  images: async () => {
    const made = await generateImage({ model: medley().imageModel(models.painter), prompt: "a red bird" });
    return { base64: made.image.base64 };
  },
  speech_to_text: async () =>
    (await transcribe({ model: openai.transcription(models.ears), audio: readFileSync(speech) })).text,
  text_to_speech: async () => {
    const made = await generateSpeech({ model: openai.speech(models.voice), text: "Good morning." });
    return { base64: made.audio.base64 };
  },
  errors: async () => [
    await refusal(generate("nobody", texts.question)),
    await refusal(generate(models.chat, texts.question, "wrong")),
  ],
  context_overflow: () => refusal(generate(models.chat, texts.long)),
});
