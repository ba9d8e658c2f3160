// The Worker of the page: the module and one model, so that the page stays free while a text is written. Stands behind
// attar_runtime.js and attar.js.

let attarModule = null;
let model = null;

async function open({ wasm, file }) {
  if (attarModule === null) attarModule = await createAttarModule({ wasmBinary: wasm, print: () => {}, printErr: () => {} });
  if (model !== null) model.free();
  model = null;
  const began = performance.now();
  model = AttarModel.openBlob(attarModule, file);
  postMessage({ kind: "opened", info: model.info(), notes: model.notes(), seconds: (performance.now() - began) / 1000 });
}

// Speed is that of the tokens after the first, which waits for the prompt.
async function write({ prompt, options }) {
  let first = 0;
  const speed = (tokens) => (tokens > 1 ? (tokens - 1) / ((performance.now() - first) / 1000) : 0);
  const onText = (text, tokens) => {
    if (first === 0) first = performance.now();
    postMessage({ kind: "text", text, tokens, speed: speed(tokens) });
  };
  const written = await model.write(prompt, { ...options, onText });
  postMessage({ kind: "written", ...written, speed: speed(written.tokens.length) });
}

onmessage = async ({ data }) => {
  try {
    if (data.kind === "open") await open(data);
    if (data.kind === "write") await write(data);
    if (data.kind === "stop") model?.stop();
  } catch (error) {
    postMessage({ kind: "failed", during: data.kind, message: error.message ?? String(error) });
  }
};
