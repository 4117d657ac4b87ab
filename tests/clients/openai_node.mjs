// The package openai against a server: OPENAI_BASE_URL names it.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: "unused" });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Who are you?" }];
const body = { model, messages, max_tokens: 24 };

const whole = await client.chat.completions.create(body);
const text = whole.choices[0].message.content;
assert(text.length > 0);

let streamed = "";
const stream = await client.chat.completions.create({ ...body, stream: true });
for await (const chunk of stream) streamed += chunk.choices[0]?.delta?.content ?? "";
assert.equal(streamed, text);

// A stream that is left frees its slot: the next answer comes.
const left = await client.chat.completions.create({ ...body, max_tokens: 1500, stream: true });
for await (const _ of left) break;
assert.equal((await client.chat.completions.create(body)).choices[0].message.content, text);

const response = await client.responses.create({
  model, input: "Who are you?", max_output_tokens: 24,
});
assert.equal(response.output_text, text);

await assert.rejects(
  client.chat.completions.create({ ...body, top_p: 2 }),
  error => error.status === 400 && error.param === "top_p",
);
console.log("openai (node): done");
