"""What the API of a model answers, in the form of OpenAI and in that of Anthropic: whole, or piece by piece as server-sent events.
It demands a key, and tells on request what it was sent. No socket: whoever serves it is elsewhere."""
import json

WORDS = ["The", " gate", " holds", " the", " key", "."]


def answer(keys, method, path, fields, body):
    """Status, content type, and the pieces of the body. `keys` are those of `openai` and `anthropic`; names of `fields` are in lower case."""
    name = "anthropic" if path == "/v1/messages" else "openai"
    sent = fields.get("x-api-key") or fields.get("authorization", "").removeprefix("Bearer ")
    if sent != keys[name]:
        return whole(401, {"type": "error", "error": {"type": "authentication_error", "message": "Incorrect API key provided."}})
    if (method, path) == ("GET", "/v1/echo"):
        return whole(200, fields)
    forms = {("POST", "/v1/chat/completions"): (chat, chat_events), ("POST", "/v1/messages"): (message, message_events)}
    if (method, path) not in forms:
        return whole(404, {"type": "error", "error": {"type": "not_found_error", "message": f"No {method} {path} here."}})
    asked = json.loads(body)
    said, events = forms[method, path]
    if asked.get("stream"):
        return 200, "text/event-stream", events(asked["model"])
    return whole(200, said(asked["model"]))


def whole(status, value):
    return status, "application/json", [json.dumps(value).encode()]


def event(value, name=None):
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


# The form of OpenAI

def completion(model, kind, choice):
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": model, "choices": [{"index": 0, **choice}]}


def chat(model):
    text = {"message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}
    return completion(model, "chat.completion", text) | {"usage": {"prompt_tokens": 1, "completion_tokens": 6, "total_tokens": 7}}


def chat_events(model):
    for word in WORDS:
        yield event(completion(model, "chat.completion.chunk", {"delta": {"content": word}, "finish_reason": None}))
    yield event(completion(model, "chat.completion.chunk", {"delta": {}, "finish_reason": "stop"}))
    yield b"data: [DONE]\n\n"


# The form of Anthropic

def message(model, words=WORDS, stop="end_turn"):
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": stop, "stop_sequence": None,
            "content": [{"type": "text", "text": "".join(words)}] if words else [], "usage": {"input_tokens": 1, "output_tokens": len(words)}}


def message_events(model):
    def one(name, **more):
        return event({"type": name} | more, name)

    yield one("message_start", message=message(model, words=[], stop=None))
    yield one("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for word in WORDS:
        yield one("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    yield one("content_block_stop", index=0)
    yield one("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": len(WORDS)})
    yield one("message_stop")
