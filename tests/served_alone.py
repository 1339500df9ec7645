"""A SavedModel in a process that has TensorFlow and none of our packages.

Usage: python served_alone.py FOLDER < requests.json
       python served_alone.py FOLDER http

The first answers a JSON list of [signature, inputs]. The second answers HTTP as
TensorFlow Serving's REST interface does, whose requests and answers it takes from that
interface's description: POST /v1/models/NAME:predict with "signature_name" and
"inputs" by column. It writes its port to standard output.
"""

from __future__ import annotations

import http.server
import json
import sys

import numpy as np
import tensorflow as tf

OURS = {"mgnm_tf", "baselines", "data", "harness", "serving", "experiments"}


def call(model, name, inputs):
    function = model.signatures[name]
    specs = function.structured_input_signature[1]
    if {*inputs} != {*specs}:
        raise ValueError(f"inputs are {sorted(specs)}, received {sorted(inputs)}")
    tensors = {
        key: tf.constant(np.array(inputs[key], spec.dtype.as_numpy_dtype))
        for key, spec in specs.items()
    }
    found = {key: value.numpy().tolist() for key, value in function(**tensors).items()}
    return json.loads(json.dumps(found, default=bytes.decode))


def answer_all(model):
    answers = []
    for name, inputs in json.load(sys.stdin):
        try:
            answers.append(call(model, name, inputs))
        except tf.errors.InvalidArgumentError as error:
            answers.append(str(error))
    ours = sorted(OURS & {name.split(".")[0] for name in sys.modules})
    print(json.dumps({"answers": answers, "ours": ours}))


def serve(model):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                outputs = call(model, request["signature_name"], request["inputs"])
                status, body = 200, {"outputs": outputs}
            except (tf.errors.InvalidArgumentError, ValueError) as error:
                status, body = 400, {"error": str(error)}
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    loaded = tf.saved_model.load(sys.argv[1])
    serve(loaded) if sys.argv[2:] == ["http"] else answer_all(loaded)
