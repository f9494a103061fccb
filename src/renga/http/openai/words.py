"""What each field of OpenAI's chat means here, in a sentence: see `renga.http.words`."""

from __future__ import annotations

CHAT_WORDS: dict[str, str] = {
    "model": "a tier, a canonical id, a Claude name or an alias",
    "messages": "`system` or `developer`, `user`, `assistant` and `tool`; content is a string or "
    "`text` parts, of the user also `image_url` and `file`; a last `assistant` message is "
    "continued; a `prompt_cache_breakpoint` keeps the prompt up to there for an hour",
    "max_completion_tokens": "1 to 128,000; without a limit an answer may fill the model's window",
    "max_tokens": "the older name of `max_completion_tokens`",
    "temperature": "0 to 2; absent takes the model's own default",
    "top_p": "0 to 1",
    "top_k": "not OpenAI's; as many servers have it",
    "seed": "draws the same answer again from the same prompt, with the same model and machine",
    "stop": "a string or several that end the answer and are not part of it",
    "stream": "server-sent events instead of one JSON object",
    "stream_options": "`include_usage` sends the usage before the end, `continuous_usage_stats` "
    "with each chunk",
    "tools": "functions that the model may call; arguments always follow `parameters`",
    "tool_choice": "`none`, `auto`, `required`, or an object that names a function or some",
    "parallel_tool_calls": "`false` allows one call at most",
    "response_format": "`text`, `json_object` or `json_schema`; the answer follows the schema",
    "logprobs": "the log probability of each token of the text, before temperature",
    "top_logprobs": "so many of the likeliest tokens beside it, 20 at most",
    "reasoning_effort": "`none` switches thinking off; the others are the effort of adaptive "
    "thinking, `minimal` as `low`; what was thought is `reasoning_content`",
}
