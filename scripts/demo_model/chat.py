"""The chat format, which is Vicuna's."""

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

# The template for llama.cpp and logitspec. A space separates the turns, except between an answer
# and
# the next question.
TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% else %}{{ '"
    + SYSTEM.replace("'", "\\'")
    + "' }}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{% if loop.index0 == 0 or messages[loop.index0 - 1]['role'] == 'system' %}{{ ' ' }}{% endif %}"
    "{{ 'USER: ' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ ' ASSISTANT: ' + message['content'] + eos_token }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
