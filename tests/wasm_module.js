// node wasm_module.js BIN WORK.json: what the C library as a module says of a model, as one JSON document; for wasm_test.py.
"use strict";

const fs = require("fs");
const path = require("path");

const [bin, work] = process.argv.slice(2);
const { model: file, attar, prompt, tokens, text } = JSON.parse(fs.readFileSync(work, "utf8"));
const createAttarModule = require(path.resolve(bin, "attar_runtime.js"));
const { AttarError, AttarModel } = require(path.resolve(attar));

function refusal(work) {
  try {
    work();
    return null;
  } catch (error) {
    if (!(error instanceof AttarError)) throw error;
    return { message: error.message, code: error.code };
  }
}

async function main() {
  const runtime = await createAttarModule();
  const broken = refusal(() => AttarModel.openBytes(runtime, new TextEncoder().encode("GGUF, but no more")));
  const model = AttarModel.openBytes(runtime, fs.readFileSync(file));
  const pieces = [];
  const greedy = { maxTokens: tokens, temperature: 0 };
  const written = await model.write({ text: prompt }, { ...greedy, onText: (piece) => pieces.push(piece) });
  const again = await model.write({ text: prompt }, greedy);
  const stopping = model.write({ text: prompt }, { ...greedy, maxTokens: 100000 });
  model.stop();
  const second = await model.write({ text: prompt }, greedy).catch((error) => error.code);
  const stopped = await stopping;
  let thrown = null;
  await model.write({ text: prompt }, { ...greedy, onText: () => { throw new Error("of the page's own"); } }).catch((error) => (thrown = error.message));
  const after = await model.write({ text: prompt }, greedy);
  const scored = model.score({ text });
  const info = model.info();
  model.free();
  const closed = refusal(() => model.info());
  console.log(JSON.stringify({ broken, written, pieces, again, second, stopped, thrown, after, scored, info, closed }));
}

main();
