"""The package openai against a server: OPENAI_BASE_URL names it."""

import os

import openai

client = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"], api_key="unused")
model = client.models.list().data[0].id
question = [{"role": "user", "content": "Who are you?"}]


def chat(**fields):
    return client.chat.completions.create(model=model, messages=question, **fields)


def refused(error, param, **fields):
    try:
        chat(**fields)
    except error as caught:
        assert caught.param == param, caught
    else:
        raise AssertionError(f"{param} was not refused")


whole = chat(max_tokens=24)
text = whole.choices[0].message.content
assert whole.choices[0].finish_reason in ("stop", "length")
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
assert whole.model_extra["timings"]["predicted_n"] == whole.usage.completion_tokens

streamed, usage = "", None
for chunk in chat(max_tokens=24, stream=True, stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        streamed += choice.delta.content or ""
assert streamed == text, (streamed, text)
assert usage.completion_tokens == whole.usage.completion_tokens

several = chat(max_completion_tokens=8, n=2, temperature=1.0, top_p=0.9, seed=1, user="me")
assert len(several.choices) == 2

stop = text[len(text) // 2 :][:3]
assert chat(max_tokens=24, stop=[stop]).choices[0].message.content == text[: text.index(stop)]

predicted = chat(max_tokens=24, prediction={"type": "content", "content": text})
assert predicted.choices[0].message.content == text
details = predicted.usage.completion_tokens_details
assert details.accepted_prediction_tokens + details.rejected_prediction_tokens > 0

plain = chat(max_tokens=24, extra_body={"speculative": False, "cache_prompt": False})
assert plain.choices[0].message.content == text
assert plain.model_extra["timings"]["draft_n"] == 0

tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
assert chat(max_tokens=8, tools=tools, tool_choice="auto").choices[0].message

called = chat(max_tokens=60, tools=tools, tool_choice="required").choices[0]
assert called.message.tool_calls[0].function.name == "add" and called.finish_reason == "tool_calls"

rated = chat(max_tokens=24, logprobs=True, top_logprobs=2).choices[0].logprobs.content
assert "".join(token.token for token in rated).strip() == text.strip()
assert all(len(token.top_logprobs) == 2 for token in rated)

completion = client.completions.create(model=model, prompt=["one", "two"], max_tokens=8)
assert [choice.index for choice in completion.choices] == [0, 1]

response = client.responses.create(model=model, input="Who are you?", max_output_tokens=24)
assert response.output_text == text
deltas = ""
events = client.responses.create(
    model=model, input="Who are you?", max_output_tokens=24, stream=True
)
for event in events:
    if event.type == "response.output_text.delta":
        deltas += event.delta
assert deltas == text

refused(openai.BadRequestError, "temperature", temperature=3)
refused(openai.BadRequestError, "n", n=0)
refused(openai.BadRequestError, "messages[0].content", extra_body={"messages": [{"role": "user"}]})
print("openai (Python): done")
