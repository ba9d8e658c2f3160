// The C library (runtime/attar_runtime.h) in JavaScript: models, and texts that they go on with. Stands behind
// attar_runtime.js, which defines createAttarModule, in a Worker or in node. layout.c holds the places in structs to the
// compiler's own.
"use strict";

const ATTAR_STOP_REASONS = ["failed", "end_of_text", "stop_text", "max_tokens", "context_full", "cancelled"];
const ATTAR_BETWEEN_TURNS_MS = 16; // how long a text is written before messages are looked at

class AttarError extends Error {
  constructor(message, code) {
    super(message);
    this.name = "AttarError";
    this.code = code; // ATTAR_BAD_FILE, ...
  }
}

// What one call needs in the module's memory, freed when it is over.
class AttarMemory {
  constructor(module) {
    this.module = module;
    this.places = [];
  }

  static in(module, work) {
    const memory = new AttarMemory(module);
    try {
      return work(memory);
    } finally {
      for (const place of memory.places) module._free(place);
    }
  }

  // A view, which lasts until the module's memory grows.
  get view() {
    return new DataView(this.module.HEAPU8.buffer);
  }

  take(sizeBytes) {
    const place = this.module._malloc(Math.max(sizeBytes, 1)) >>> 0;
    if (place === 0) throw new AttarError("memory: the browser gives no more", 5);
    this.places.push(place);
    this.module.HEAPU8.fill(0, place, place + sizeBytes);
    return place;
  }

  bytes(bytes) {
    const place = this.take(bytes.length);
    this.module.HEAPU8.set(bytes, place);
    return place;
  }

  text(text) {
    return this.bytes(new TextEncoder().encode(`${text}\0`));
  }

  struct(sizeBytes) {
    const place = this.take(sizeBytes);
    this.view.setUint32(place, sizeBytes, true);
    return place;
  }
}

function attarText(module, place, sizeBytes) {
  place >>>= 0;
  const end = sizeBytes === undefined ? module.HEAPU8.indexOf(0, place) : place + sizeBytes;
  return new TextDecoder().decode(module.HEAPU8.slice(place, end));
}

function attarFailure(module) {
  return new AttarError(attarText(module, module._attar_last_error()), module._attar_last_code());
}

// A prompt: {text}, {messages: [{role, content}], chatTemplate} or {tokens}.
function attarPrompt(memory, prompt) {
  const place = memory.struct(44);
  const set = (at, value) => memory.view.setUint32(place + at, value, true);
  if (prompt.text !== undefined) {
    const bytes = new TextEncoder().encode(prompt.text);
    set(4, memory.bytes(bytes));
    set(8, bytes.length);
    if (bytes.length === 0) set(4, memory.text("")); // up to its null
  }
  if (prompt.messages !== undefined) {
    const messages = memory.take(12 * prompt.messages.length);
    prompt.messages.forEach((message, i) => {
      const role = memory.text(message.role);
      const content = memory.text(message.content);
      memory.view.setUint32(messages + 12 * i, role, true);
      memory.view.setUint32(messages + 12 * i + 4, content, true);
    });
    set(12, messages);
    set(16, prompt.messages.length);
  }
  if (prompt.tokens !== undefined) {
    set(20, memory.bytes(new Uint8Array(Int32Array.from(prompt.tokens).buffer)));
    set(24, prompt.tokens.length);
  }
  if (prompt.chatTemplate !== undefined) set(28, memory.text(prompt.chatTemplate));
  return place;
}

class AttarModel {
  constructor(module, handle) {
    this.module = module;
    this.handle = handle;
    this.engine = 0;
    this.writing = null; // the text under way
    this.callbacks = null;
  }

  // The module's text, in `files` of a page's: a File or Blob, read where it lies.
  static openBlob(module, blob, options) {
    module.FS.mkdirTree("/model");
    module.FS.mount(module.WORKERFS, { blobs: [{ name: "model.gguf", data: blob }] }, "/model");
    try {
      return AttarModel.#opened(module, options, (memory, how) => module._attar_open(memory.text("/model/model.gguf"), how));
    } finally {
      module.FS.unmount("/model");
    }
  }

  static openBytes(module, bytes, options) {
    return AttarModel.#opened(module, options, (memory, how) => module._attar_open_memory(memory.bytes(bytes), bytes.length, how));
  }

  static #opened(module, { fp32 = false, kv } = {}, open) {
    return AttarMemory.in(module, (memory) => {
      const how = memory.struct(20);
      const name = kv === undefined ? 0 : memory.text(kv);
      memory.view.setInt32(how + 4, 1, true);
      memory.view.setInt32(how + 8, fp32 ? 1 : 0, true);
      memory.view.setUint32(how + 12, name, true);
      const handle = open(memory, how);
      if (handle === 0) throw attarFailure(module);
      return new AttarModel(module, handle);
    });
  }

  free() {
    if (this.engine !== 0) this.module._attar_engine_free(this.engine);
    this.module._attar_free(this.handle);
    this.engine = this.handle = 0;
  }

  #check(code) {
    if (code !== 0) throw attarFailure(this.module);
  }

  info() {
    return AttarMemory.in(this.module, (memory) => {
      const place = memory.struct(80);
      this.#check(this.module._attar_info(this.handle, place));
      const number = (at) => Number(memory.view.getBigInt64(place + at, true));
      return {
        vocabularyTokens: number(8),
        contextTokens: number(16),
        parameters: number(40),
        fileBytes: number(48),
        packedBytes: number(56),
        hasChatTemplate: memory.view.getInt32(place + 68, true) !== 0,
      };
    });
  }

  notes() {
    const count = this.module._attar_note_count(this.handle);
    return Array.from({ length: count }, (_, i) => attarText(this.module, this.module._attar_note(this.handle, i)));
  }

  tokenize(prompt) {
    return AttarMemory.in(this.module, (memory) => {
      const given = attarPrompt(memory, prompt);
      const count = this.module._attar_tokenize(this.handle, given, 0, 0n);
      if (count < 0n) throw attarFailure(this.module);
      const tokens = memory.take(4 * Number(count));
      this.module._attar_tokenize(this.handle, given, tokens, count);
      return Array.from(new Int32Array(this.module.HEAPU8.buffer, tokens, Number(count)));
    });
  }

  // Tokens, and the natural log-probability of each given those before; the first has none: null.
  score(prompt) {
    return AttarMemory.in(this.module, (memory) => {
      const given = attarPrompt(memory, prompt);
      const count = BigInt(this.tokenize(prompt).length);
      const tokens = memory.take(4 * Number(count));
      const logprobs = memory.take(8 * Number(count));
      if (this.module._attar_score(this.handle, given, tokens, logprobs, count) < 0n) throw attarFailure(this.module);
      const buffer = this.module.HEAPU8.buffer;
      return {
        tokens: Array.from(new Int32Array(buffer, tokens, Number(count))),
        logprobs: Array.from(new Float64Array(buffer, logprobs, Number(count)), (p) => (Number.isNaN(p) ? null : p)),
      };
    });
  }

  // Goes on behind a prompt, a token at a time, so that messages are heard meanwhile. `onText` is given whole characters as
  // they become certain; stop() ends the text. One at a time.
  async write(prompt, options = {}) {
    if (this.writing !== null) throw new AttarError("this model writes already", 6);
    this.writing = { onText: options.onText, error: null, ended: null, id: 0n };
    try {
      this.#open();
      this.#submit(prompt, options);
      let last = -Infinity; // before the first token
      while (this.writing.ended === null) {
        if (this.module._attar_engine_step(this.engine) < 0n) throw attarFailure(this.module);
        if (this.writing.error !== null) throw this.writing.error;
        if (performance.now() - last < ATTAR_BETWEEN_TURNS_MS) continue;
        await AttarModel.#otherWork();
        last = performance.now();
        if (this.writing.stopped) break;
      }
      const { ended } = this.writing;
      if (ended === null) return { stopReason: "cancelled", ...this.writing.soFar };
      if (ended.code !== 0 && ended.stopReason !== "cancelled") throw new AttarError(ended.error, ended.code);
      return ended;
    } finally {
      if (this.writing.ended === null && this.writing.id > 0n) this.module._attar_engine_cancel(this.engine, this.writing.id);
      this.writing = null;
    }
  }

  stop() {
    if (this.writing !== null) this.writing.stopped = true;
  }

  #open() {
    if (this.engine !== 0) return;
    this.callbacks = {
      text: this.module.addFunction((place, sizeBytes) => this.#heard(place, sizeBytes), "iiii"),
      token: this.module.addFunction((token) => this.#counted(token), "iii"),
      end: this.module.addFunction((place) => this.#over(place), "vii"),
    };
    this.engine = AttarMemory.in(this.module, (memory) => {
      const how = memory.struct(40);
      this.#check(this.module._attar_init_engine_options(how, 40));
      memory.view.setBigInt64(how + 8, 1n, true); // texts at once
      memory.view.setBigInt64(how + 32, 32n, true); // tokens of a prompt in a step
      return this.module._attar_engine_open(this.handle, how);
    });
    if (this.engine === 0) throw attarFailure(this.module);
  }

  #submit(prompt, options) {
    AttarMemory.in(this.module, (memory) => {
      const given = attarPrompt(memory, prompt);
      const how = memory.struct(144);
      this.#check(this.module._attar_init_generate_options(how, 144));
      const whole = { maxTokens: 8, topK: 24, seed: 64 };
      const real = { temperature: 16, topP: 32, minP: 40, repetitionPenalty: 48 };
      for (const [name, at] of Object.entries(whole))
        if (options[name] !== undefined) memory.view.setBigInt64(how + at, BigInt(options[name]), true);
      for (const [name, at] of Object.entries(real))
        if (options[name] !== undefined) memory.view.setFloat64(how + at, options[name], true);
      memory.view.setUint32(how + 92, this.callbacks.text, true);
      memory.view.setUint32(how + 96, this.callbacks.token, true);
      this.writing.soFar = { text: "", tokens: [] };
      this.writing.id = this.module._attar_engine_submit(this.engine, given, how, this.callbacks.end);
      if (this.writing.id < 0n) throw attarFailure(this.module);
    });
  }

  // Nothing that is thrown may go through the library's own frames.
  #guarded(work) {
    try {
      work();
      return 0;
    } catch (error) {
      this.writing.error = error;
      return 1;
    }
  }

  #heard(place, sizeBytes) {
    return this.#guarded(() => {
      const text = attarText(this.module, place, sizeBytes);
      this.writing.soFar.text += text;
      this.writing.onText?.(text, this.writing.soFar.tokens.length);
    });
  }

  #counted(token) {
    return this.#guarded(() => this.writing.soFar.tokens.push(token));
  }

  #over(place) {
    this.#guarded(() => {
      place >>>= 0;
      const view = new DataView(this.module.HEAPU8.buffer);
      const pointer = (at) => view.getUint32(place + at, true);
      this.writing.ended = {
        stopReason: ATTAR_STOP_REASONS[view.getInt32(place + 16, true)],
        code: view.getInt32(place + 20, true),
        error: attarText(this.module, pointer(24)),
        promptTokens: Number(view.getBigInt64(place + 32, true)),
        heldTokens: Number(view.getBigInt64(place + 40, true)),
        tokens: Array.from(new Int32Array(this.module.HEAPU8.buffer, pointer(72), pointer(76))),
        text: attarText(this.module, pointer(80), pointer(84)),
      };
    });
  }

  // A turn of the event loop, without the four milliseconds that timers take.
  static #otherWork() {
    return new Promise((resolve) => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        channel.port1.close();
        resolve();
      };
      channel.port2.postMessage(null);
    });
  }
}

if (typeof module !== "undefined") module.exports = { AttarError, AttarModel };
