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
