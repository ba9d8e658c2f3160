"""An OpenAI-compatible endpoint on this machine: chats and beginnings of texts answered with words that follow from the request, the
probabilities of their tokens, and the faults that endpoints and networks have."""

import contextlib
import http.server
import json
import math
import pathlib
import random
import threading
import time

from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = Tokenizer.from_file(str(ROOT / "recipes/text/tiny_tokenizer/tokenizer.json"))
WORDS = ["cat", "dog", "boat", "garden", "house", "bear", "friend", "ball", "tree", "bird", "mouse", "box", "hat", "ship", "river", "rain", "cake", "book", "door", "lamp"]
LIKELIEST = [" the", " a", " happy", " zzzzqqqq", " dog"]  # one of them is no token of the tiny tokenizer


def words_for(body, count=12):
    """What a model would say: a function of all that it is asked."""
    draw = random.Random(json.dumps(body, sort_keys=True))
    return "The " + " ".join(draw.choice(WORDS) for _ in range(count)) + "."


def pieces_of(text):
    """The text of each token of the tiny tokenizer."""
    return [TOKENIZER.decode([token]) for token in TOKENIZER.encode(text).ids]


def chances(pieces, top):
    """(token, its log-probability, those of the likeliest): the first of these is the token itself."""
    for place, piece in enumerate(pieces):
        own = math.log(0.5 + 0.01 * (place % 7))
        yield piece, own, [(piece, own), *((other, math.log(0.05 / (rank + 1))) for rank, other in enumerate(LIKELIEST) if other != piece)][:top]


def chat_logprobs(pieces, top):
    def entry(token, value):
        return {"token": token, "logprob": value, "bytes": list(token.encode())}

    return {"content": [entry(token, own) | {"top_logprobs": [entry(*other) for other in others]} for token, own, others in chances(pieces, top)]}


def text_logprobs(pieces, top):
    rows = list(chances(pieces, top))
    return {"tokens": [row[0] for row in rows], "token_logprobs": [row[1] for row in rows], "top_logprobs": [dict(row[2]) for row in rows]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        endpoint = self.server.endpoint
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with endpoint.lock:
            endpoint.requests.append((time.monotonic(), self.path, dict(self.headers), body))
            endpoint.busy += 1
            endpoint.most_busy = max(endpoint.most_busy, endpoint.busy)
        with contextlib.suppress(ConnectionError):
            self.respond(endpoint, body)
        with endpoint.lock:
            endpoint.busy -= 1

    def respond(self, endpoint, body):
        prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        with endpoint.lock:
            faults = endpoint.faults.get(prompt) or endpoint.faults.get("") or [None]
            fault = faults.pop(0)
        if endpoint.key and self.headers.get("Authorization") != f"Bearer {endpoint.key}":
            words = {"message": f"Incorrect API key provided: {self.headers.get('Authorization')}"}
            return self.answer(401, json.dumps({"error": words}).encode())
        if fault is not None:
            return fault(self)
        time.sleep(endpoint.delay_s)
        said = endpoint.says(body)
        choice = {"index": 0, "finish_reason": endpoint.finish}
        pieces, top = pieces_of(said), body.get("top_logprobs", body.get("logprobs"))
        if "messages" in body:
            choice["message"] = {"role": "assistant", "content": said}
            if top and endpoint.probabilities:
                choice["logprobs"] = chat_logprobs(pieces + endpoint.ends_with, top)
        else:
            choice["text"] = said
            if top and endpoint.probabilities:
                choice["logprobs"] = text_logprobs(pieces, top)
        data = json.dumps({"object": "chat.completion", "model": body["model"], "choices": [choice]}).encode()
        if not endpoint.chunked:
            return self.answer(200, data)
        self.answer(200, Transfer_Encoding="chunked", Content_Length="3")
        for at in range(0, len(data), 700):
            self.wfile.write(chunk(data[at : at + 700]))
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def status(code, body=b"", **headers):
    return lambda handler: handler.answer(code, body, **headers)


def cut(handler):
    """Half an answer, and the connection is gone."""
    handler.answer(200, b'{"choices": [{"message"', Content_Length="400")
    handler.wfile.flush()
    handler.close_connection = True


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def cut_chunks(sent):
    """An answer in chunks of which so many bytes come, and the connection is gone."""

    def fault(handler):
        handler.answer(200, sent, Transfer_Encoding="chunked", Content_Length="3")
        handler.wfile.flush()
        handler.close_connection = True

    return fault


def silence(handler):
    time.sleep(15)
    handler.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass


class Endpoint:
    """Answers until it is closed. `faults[PROMPT]`: what goes wrong with the next requests for it, in order; None: nothing; "": for any."""

    def __init__(self, says=words_for, key="", probabilities=True):
        self.says, self.key, self.probabilities, self.finish, self.ends_with = says, key, probabilities, "stop", []
        self.requests, self.faults, self.chunked, self.delay_s = [], {}, False, 0.0
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.endpoint = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def bodies(self):
        return [json.dumps(body, sort_keys=True) for _, _, _, body in self.requests]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
