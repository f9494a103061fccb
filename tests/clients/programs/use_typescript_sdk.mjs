// Everything a TypeScript client does, once, and what came of it as JSON.
// Usage: node use_typescript_sdk.mjs URL, in a folder whose node_modules hold the SDK.

import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { default: Anthropic } = require("@anthropic-ai/sdk");
const { betaTool } = require("@anthropic-ai/sdk/helpers/beta/json-schema");
const { jsonSchemaOutputFormat } = require("@anthropic-ai/sdk/helpers/json-schema");

const [, , url] = process.argv;
const client = new Anthropic({ baseURL: url, apiKey: "any", maxRetries: 0, timeout: 60_000 });
const ask = {
  model: "claude-haiku-4-5",
  max_tokens: 60,
  messages: [{ role: "user", content: "Where is my order?" }],
};
const sum = {
  name: "add",
  description: "Add two numbers.",
  inputSchema: {
    type: "object",
    properties: { a: { type: "integer" }, b: { type: "integer" } },
    required: ["a", "b"],
    additionalProperties: false,
  },
};
const city = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};

async function streamed(params) {
  const stream = client.messages.stream(params);
  const events = [];
  stream.on("streamEvent", (event) => events.push(event.type));
  const message = await stream.finalMessage();
  return { events, message };
}

async function runTools() {
  const calls = [];
  const run = ({ a, b }) => {
    calls.push([a, b]);
    return String(a + b);
  };
  const message = await client.beta.messages.toolRunner({
    model: "haiku",
    max_tokens: 200,
    max_iterations: 4,
    messages: [{ role: "user", content: "Compute 17+25 with the add tool and tell me" }],
    tools: [betaTool({ ...sum, run })],
  });
  return { calls, message };
}

async function failed(call) {
  try {
    await call();
  } catch (error) {
    return { class: error.constructor.name, status: error.status, message: error.message };
  }
  return null;
}

const forced = {
  ...ask,
  max_tokens: 200,
  tools: [{ name: "add", description: sum.description, input_schema: sum.inputSchema }],
  tool_choice: { type: "tool", name: "add" },
};
const thinking = { ...ask, max_tokens: 1400, thinking: { type: "enabled", budget_tokens: 1024 } };
const first = await streamed(thinking);
const found = {
  created: await client.messages.create(ask),
  streamed: await streamed(ask),
  forced: await client.messages.create(forced),
  forcedStream: await streamed(forced),
  parsed: await client.messages.parse({
    ...ask,
    messages: [{ role: "user", content: "I will be in Oslo for 3 days. Return JSON: city, days." }],
    max_tokens: 200,
    output_config: { format: jsonSchemaOutputFormat(city) },
  }),
  thinking: first,
  again: await client.messages.create({
    ...thinking,
    messages: [
      ...thinking.messages,
      { role: "assistant", content: first.message.content },
      { role: "user", content: "Thank you. And my refund?" },
    ],
  }),
  tools: await runTools(),
  count: await client.messages.countTokens({ model: "haiku", messages: ask.messages }),
  models: (await client.models.list({ limit: 2 })).data.map((model) => model.id),
  bad: await failed(() => client.messages.create({ ...ask, max_tokens: -1 })),
  unknown: await failed(() => client.messages.create({ ...ask, model: "gpt-4" })),
};
process.stdout.write(JSON.stringify(found));
