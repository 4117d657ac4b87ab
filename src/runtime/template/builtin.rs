//! The templates that come with the program.

/// FastChat's Vicuna v1.1. A space separates the turns, except between an answer and the next
/// question.
pub(super) const VICUNA: &str = concat!(
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}",
    "A chat between a curious user and an artificial intelligence assistant. ",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "{% endif %}",
    "{% for message in messages %}",
    "{% if message.role == 'user' %}",
    "{% if not loop.previtem or loop.previtem.role != 'assistant' %}{{ ' ' }}{% endif %}",
    "USER: {{ message.content }}",
    "{% elif message.role == 'assistant' %}",
    "{{ ' ' }}ASSISTANT: {{ message.content }}{{ eos_token }}",
    "{% endif %}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ ' ' }}ASSISTANT:{% endif %}",
);

/// Llama-2-chat, and CodeLlama-Instruct with an empty `default_system`.
pub(super) const LLAMA2: &str = concat!(
    "{% set ns = namespace(system=default_system) %}",
    "{% if messages[0].role == 'system' %}{% set ns.system = messages[0].content %}{% endif %}",
    "{% for message in messages %}",
    "{% if message.role == 'user' %}",
    "{{ bos_token }}[INST]{{ ' ' }}",
    "{% if ns.system %}",
    "{{ '<<SYS>>\\n' ~ ns.system ~ '\\n<</SYS>>\\n\\n' }}{% set ns.system = '' %}",
    "{% endif %}",
    "{{ message.content | trim }} [/INST]",
    "{% elif message.role == 'assistant' %}",
    "{{ ' ' }}{{ message.content | trim }}{{ ' ' }}{{ eos_token }}",
    "{% endif %}",
    "{% endfor %}",
);

pub(super) const LLAMA2_SYSTEM: &str = concat!(
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, ",
    "while being safe. Your answers should not include any harmful, unethical, racist, sexist, ",
    "toxic, dangerous, or illegal content. Please ensure that your responses are socially ",
    "unbiased and positive in nature.\n\n",
    "If a question does not make any sense, or is not factually coherent, explain why instead of ",
    "answering something not correct. If you don't know the answer to a question, please don't ",
    "share false information.",
);
