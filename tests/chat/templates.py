"""Chat templates with tools, in the forms that models are published with, written down shortly."""

from __future__ import annotations

from training import vocabulary

SHIPPED = vocabulary.TEMPLATE

# Qwen's, after Hermes: tools behind the system text, thoughts only since the last question, and an
# empty thought where none is wanted.
HERMES = """\
{%- if tools -%}
    {{- '<|im_start|>system\\n' -}}
    {%- if messages[0].role == 'system' -%}{{- messages[0].content + '\\n\\n' -}}{%- endif -%}
    {{- 'You may call these functions:\\n<tools>' -}}
    {%- for tool in tools -%}{{- '\\n' -}}{{- tool | tojson -}}{%- endfor -%}
    {{- '\\n</tools><|im_end|>\\n' -}}
{%- elif messages[0].role == 'system' -%}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- set ns = namespace(asked=-1) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}{%- set ns.asked = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
    {%- elif message.role == 'assistant' -%}
        {{- '<|im_start|>assistant\\n' -}}
        {%- if loop.index0 > ns.asked and message.reasoning_content is string -%}
            {{- '<think>\\n' + message.reasoning_content.strip('\\n') + '\\n</think>\\n\\n' -}}
        {%- endif -%}
        {{- message.content -}}
        {%- for call in message.tool_calls -%}
            {%- if not loop.first or message.content -%}{{- '\\n' -}}{%- endif -%}
            {%- if call.function -%}{%- set call = call.function -%}{%- endif -%}
            {{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' -}}
            {%- if call.arguments is string -%}{{- call.arguments -}}
            {%- else -%}{{- call.arguments | tojson -}}{%- endif -%}
            {{- '}\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
    {%- elif message.role == 'tool' -%}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}
            {{- '<|im_start|>user' -}}
        {%- endif -%}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}
            {{- '<|im_end|>\\n' -}}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- '<think>\\n\\n</think>\\n\\n' -}}
    {%- endif -%}
{%- endif -%}
"""

# Llama's: tools in the first question, one call in an answer, results as JSON strings.
LLAMA = """\
{%- macro head(role) -%}
    {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' -}}
{%- endmacro -%}
{%- set system = '' -%}
{%- if messages[0].role == 'system' -%}
    {%- set system = messages[0].content | trim -%}{%- set messages = messages[1:] -%}
{%- endif -%}
{{- bos_token + head('system') -}}
{%- if tools is not none -%}{{- 'Environment: ipython\\n' -}}{%- endif -%}
{{- system + '<|eot_id|>' -}}
{%- if tools is not none -%}
    {%- set question = messages[0].content | trim -%}{%- set messages = messages[1:] -%}
    {{- head('user') + 'Answer with a call of one of these functions.\\n\\n' -}}
    {%- for tool in tools -%}{{- tool | tojson(indent=4) + '\\n\\n' -}}{%- endfor -%}
    {{- question + '<|eot_id|>' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if 'tool_calls' in message -%}
        {%- if message.tool_calls | length != 1 -%}
            {{- raise_exception('This model only supports single tool-calls at once!') -}}
        {%- endif -%}
        {%- set call = message.tool_calls[0].function -%}
        {{- head('assistant') + '{"name": "' + call.name + '", "parameters": ' -}}
        {{- call.arguments | tojson + '}<|eot_id|>' -}}
    {%- elif message.role == 'tool' or message.role == 'ipython' -%}
        {{- head('ipython') -}}
        {%- if message.content is mapping or message.content is iterable -%}
            {{- message.content | tojson -}}
        {%- else -%}{{- message.content -}}{%- endif -%}
        {{- '<|eot_id|>' -}}
    {%- else -%}
        {{- head(message.role) + message.content | trim + '<|eot_id|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- head('assistant') -}}{%- endif -%}
"""

# Mistral's: tools and system text before the last question, ids of nine characters, and no role but
# the user's and the assistant's in alternation.
MISTRAL = """\
{%- set system = '' -%}
{%- if messages[0].role == 'system' -%}
    {%- set system = messages[0].content + '\\n\\n' -%}{%- set messages = messages[1:] -%}
{%- endif -%}
{%- set ns = namespace(index=0) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) -%}
        {%- if (message.role == 'user') != (ns.index % 2 == 0) -%}
            {{- raise_exception('conversation roles must alternate user/assistant') -}}
        {%- endif -%}
        {%- set ns.index = ns.index + 1 -%}
    {%- endif -%}
{%- endfor -%}
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}
        {%- set later = messages[loop.index0 + 1:] | selectattr('role', 'equalto', 'user') -%}
        {%- set last = (later | list | length) == 0 -%}
        {%- if last and tools is not none -%}
            {{- '[AVAILABLE_TOOLS] [' -}}
            {%- for tool in tools -%}
                {{- '{"type": "function", "function": {' -}}
                {%- for key, value in tool.function.items() -%}
                    {{- '"' + key + '": ' + value | tojson -}}{{- ', ' if not loop.last -}}
                {%- endfor -%}
                {{- '}}' -}}{{- ', ' if not loop.last -}}
            {%- endfor -%}
            {{- ']' + '[/AVAILABLE_TOOLS]' -}}
        {%- endif -%}
        {{- '[INST] ' + (system if last else '') + message.content + '[/INST]' -}}
    {%- elif message.tool_calls is defined and message.tool_calls is not none -%}
        {{- '[TOOL_CALLS] [' -}}
        {%- for call in message.tool_calls -%}
            {%- set out = call.function | tojson -%}
            {%- if not call.id is defined or call.id | length != 9 -%}
                {{- raise_exception('Tool call IDs should be strings with length 9!') -}}
            {%- endif -%}
            {{- out[:-1] + ', "id": "' + call.id + '"}' -}}{{- ', ' if not loop.last -}}
        {%- endfor -%}
        {{- ']' + eos_token -}}
    {%- elif message.role == 'assistant' -%}
        {{- ' ' + message.content + eos_token -}}
    {%- elif message.role == 'tool' -%}
        {%- set content = message.content -%}
        {{- '[TOOL_RESULTS] {"content": ' + content | string + ', ' -}}
        {%- if not message.tool_call_id is defined or message.tool_call_id | length != 9 -%}
            {{- raise_exception('Tool call IDs should be strings with length 9!') -}}
        {%- endif -%}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' -}}
    {%- else -%}
        {{- raise_exception('Only user and assistant roles are supported!') -}}
    {%- endif -%}
{%- endfor -%}
"""

# Shows schemas as types, as some models read them: it looks into them and compares what is there,
# and refuses what it does not know.
TYPED = """\
{%- if tools -%}
    {{- '<|im_start|>system\\n' -}}
    {%- for tool in tools -%}
        {%- set f = tool.function -%}
        {{- '// ' + f.description + '\\ntype ' + f.name + ' = (_: {' -}}
        {%- for name, schema in f.parameters.properties.items() -%}
            {%- if schema.type not in ['integer', 'number', 'string', 'boolean'] -%}
                {{- raise_exception('unknown type ' + schema.type) -}}
            {%- endif -%}
            {{- ' ' + name -}}{{- ': ' if name in (f.parameters.required or []) else '?: ' -}}
            {{- 'number' if schema.type == 'integer' else schema.type -}}{{- ',' -}}
            {{- ' // ' + schema.description if schema.description -}}
        {%- endfor -%}
        {{- '}) => any;\\n' -}}
    {%- endfor -%}
    {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' + message.content -}}
    {%- for call in message.tool_calls or [] -%}
        {{- '<tool_call>' + call.function.name -}}
        {%- for key, value in call.function.arguments.items() -%}
            {{- '\\n' + key + '=' + (value if value is string else value | tojson) -}}
        {%- endfor -%}
        {{- '</tool_call>' -}}
    {%- endfor -%}
    {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

WITH_TOOLS = {
    "shipped": SHIPPED,
    "hermes": HERMES,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "typed": TYPED,
}

_MESSAGES = """\
{%- if tools -%}{{- '<|start|>system<|message|>' + (tools | tojson) + '<|end|>' -}}{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'tool' -%}
        {{- '<|start|>tool<|message|>' + message.content + '<|end|>' -}}
    {%- elif message.role != 'assistant' -%}
        {{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' -}}
    {%- else -%}
        ANSWER
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}
"""

# gpt-oss's: an answer is messages on channels; what was thought is shown beside calls, or last.
HARMONY = _MESSAGES.replace(
    "ANSWER",
    """\
{%- if message.thinking and (message.tool_calls or (loop.last and not add_generation_prompt)) -%}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking -}}
            {{- '<|end|>' -}}
        {%- endif -%}
        {%- if message.tool_calls -%}
            {%- set call = message.tool_calls[0].function -%}
            {{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json' -}}
            {{- '<|message|>' + (call.arguments | tojson) + '<|call|>' -}}
        {%- else -%}
            {{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' -}}
        {%- endif -%}""",
)
# GLM's: a pair of tags for each argument.
GLM = _MESSAGES.replace(
    "ANSWER",
    """\
{{- '<|start|>assistant' + (message.content or '') -}}
        {%- for call in message.tool_calls or [] -%}
            {{- '\\n<tool_call>' + call.function.name + '\\n' -}}
            {%- for key, value in call.function.arguments.items() -%}
                {{- '<arg_key>' + key + '</arg_key>\\n<arg_value>' -}}
                {{- value if value is string else value | tojson -}}{{- '</arg_value>\\n' -}}
            {%- endfor -%}
            {{- '</tool_call>' -}}
        {%- endfor -%}
        {{- '<|end|>' -}}""",
)
# Mistral's of today: a name, then its arguments.
NAMED = _MESSAGES.replace(
    "ANSWER",
    """\
{{- '<|start|>assistant' + (message.content or '') -}}
        {%- for call in message.tool_calls or [] -%}
            {{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' -}}
            {{- call.function.arguments | tojson -}}
        {%- endfor -%}
        {{- '<|end|>' -}}""",
)
# DeepSeek's: calls without content, arguments as text, and no tools.
FENCED = _MESSAGES.replace("{%- if tools -%}", "{%- if false -%}").replace(
    "ANSWER",
    """\
{%- if message.tool_calls -%}
            {{- '<|start|>assistant<｜tool▁calls▁begin｜>' -}}
            {%- for call in message.tool_calls -%}
                {{- '<｜tool▁call▁begin｜>function<｜tool▁sep｜>' + call.function.name -}}
                {{- '\\n```json\\n' + call.function.arguments + '\\n```<｜tool▁call▁end｜>' -}}
                {{- '\\n' if not loop.last -}}
            {%- endfor -%}
            {{- '<｜tool▁calls▁end｜><|end|>' -}}
        {%- endif -%}
        {%- if message.content is not none -%}
            {{- '<|start|>assistant' + message.content + '<|end|>' -}}
        {%- endif -%}""",
)
OTHER_FORMS = {"harmony": HARMONY, "glm": GLM, "mistral-named": NAMED, "deepseek": FENCED}
