"""What each field of a request means, in a sentence: for the documentation and for OpenAPI.

Owns the sentences. What is accepted stands in the types.
"""

from __future__ import annotations

from renga.chat.subset import (
    DEEPEST,
    LARGEST_MULTIPLE,
    LONGEST_CERTAIN,
    LONGEST_PATTERNS,
    MOST_OPTIONAL,
)

FIELD_WORDS: dict[str, str] = {
    "model": "a tier, a canonical id, a Claude name or an alias; see *Model names*",
    "messages": "turns of `user`, `assistant` and, in mid-conversation, `system`; content is a "
    "string or blocks; turns of one role in a row are one turn; a last `assistant` turn is "
    "continued",
    "max_tokens": "0 to 128,000; 0 computes the prompt alone, to warm the cache; an answer that "
    "reaches the model's window stops there with `model_context_window_exceeded`",
    "system": "a string or `text` blocks",
    "stop_sequences": "strings that end the answer and are not part of it",
    "stream": "server-sent events instead of one JSON object",
    "temperature": "0 to 1, API version 2023-06-01 only; absent takes the model's own default",
    "top_p": "0 to 1, API version 2023-06-01 only",
    "top_k": "API version 2023-06-01 only",
    "output_config": "`format` of type `json_schema`: the answer is JSON that meets the schema, by "
    "construction. Refused: keywords that cannot be honoured, recursion, references out of the "
    f"schema, more than {DEEPEST} levels with references followed, patterns of over "
    f"{LONGEST_PATTERNS:,} characters in all, `multipleOf` steps whose least common multiple is "
    f"over {LARGEST_MULTIPLE:,}, constants and required names of over {LONGEST_CERTAIN:,} "
    f"characters in a row, and over {MOST_OPTIONAL} optional properties of one object. Required "
    "properties are written first. renga's own are the types `regex` (the answer is a text that "
    "`pattern` matches whole, in Rust's syntax, where `\\d` is any script's digit) and `choice` "
    "(one of the strings in `choices`)",
    "tools": "what the model may call: custom tools, the API's client tools (bash, text editor, "
    "memory, computer) and its tool search; tools that the API runs itself are refused by name",
    "tool_choice": "`auto`, `any`, `tool` with a `name`, or `none`; `disable_parallel_tool_use` "
    "allows one call at most",
    "thinking": "`enabled` with `budget_tokens`, `adaptive` or `disabled`; `display` is "
    "`summarized` or `omitted`",
    "context_management": "`edits` that leave old results, thinking or turns out of a long prompt",
    "compaction": "`summarize`: the answer is a summary of the conversation",
    "output_format": "the older place of `output_config.format`",
    "response_format": "`json_schema`, `json_object` or `text`, as clients of other APIs spell "
    "`output_config.format`",
    "speed": "`standard` only",
    "service_tier": "`auto` and `standard_only` are the same here",
    "cache_control": "marks the last block; `ttl` is `5m` or `1h`; see *Prompt caching*",
    "diagnostics": "`previous_message_id`; see *Prompt caching*",
}

CHAT_WORDS: dict[str, str] = {
    "model": "a tier, a canonical id, a Claude name or an alias",
    "messages": "`system` or `developer`, `user`, `assistant` and `tool`; content is a string or "
    "`text` parts; a last `assistant` message is continued; a `prompt_cache_breakpoint` keeps the "
    "prompt up to there for an hour",
    "max_completion_tokens": "1 to 128,000; without a limit an answer may fill the model's window",
    "max_tokens": "the older name of `max_completion_tokens`",
    "temperature": "0 to 2; absent takes the model's own default",
    "top_p": "0 to 1",
    "top_k": "not OpenAI's; as many servers have it",
    "seed": "draws the same answer again from the same prompt, with the same model and machine",
    "stop": "a string or several that end the answer and are not part of it",
    "stream": "server-sent events instead of one JSON object",
    "stream_options": "`include_usage` sends the usage before the end",
    "tools": "functions that the model may call; arguments always follow `parameters`",
    "tool_choice": "`none`, `auto`, `required`, or an object that names a function",
    "parallel_tool_calls": "`false` allows one call at most",
    "response_format": "`text`, `json_object` or `json_schema`; the answer follows the schema",
    "logprobs": "the log probability of each token of the text, before temperature",
    "top_logprobs": "so many of the likeliest tokens beside it, 20 at most",
    "reasoning_effort": "`none` switches thinking off; the others are the effort of adaptive "
    "thinking, `minimal` as `low`; what was thought is `reasoning_content`",
}
