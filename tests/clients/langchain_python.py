"""The package langchain-openai against a server: OPENAI_BASE_URL names it."""

import os

from langchain_openai import ChatOpenAI

chat = ChatOpenAI(
    base_url=os.environ["OPENAI_BASE_URL"],
    api_key="unused",
    model="any",
    max_tokens=24,
    temperature=0,
)
question = [("system", "Be brief."), ("human", "Who are you?")]
answer = chat.invoke(question)
assert answer.content and answer.usage_metadata["output_tokens"] > 0
pieces = [piece.content for piece in chat.stream(question)]
assert "".join(pieces) == answer.content
assert len(chat.batch(["one", "two"])) == 2


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


assert chat.bind_tools([add]).invoke("Add 1 and 2.") is not None
print("langchain-openai: done")
