// Many texts from one model at once: requests of any length, each with its own options and callbacks. One step is one
// pass of the model: the next token of every text, with guesses behind it a bounded number of all, and beside them a
// bounded part of the prompts that are still to be read, shared out evenly, so that nobody waits long for anybody. Each
// text is, to the bit, what generate() gives with the same options and seed.
//
// Continuous batching: Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative Models" (2022),
// section 4; prompts in parts beside others' tokens: Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM
// Inference with Sarathi-Serve" (2024), section 4.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/model/model.h"
#include "runtime/text/generate.h"

namespace attar::runtime {

struct EngineOptions {
  int64_t max_sequences = 16;  // read or written at once; the others wait in their order
  // Most bytes of keys and values: of all that are under way, each counted as long as it may become, a draft's too,
  // with what is kept of texts that ended. 0: any number.
  uint64_t max_kv_bytes = 0;
  uint64_t kept_bytes = uint64_t{256} << 20;  // of texts that ended, for prompts that begin as they did; oldest goes
  int64_t prompt_tokens = 256;                // that are read in a step in which others write
  // Guesses, of all texts together, where nothing is looked up, with keys and values of its own of each. Must outlive
  // it, and is free for others between steps. nullptr: none.
  Draft* draft = nullptr;
};

// How a request ended.
struct Ended {
  uint64_t id;
  Generated text;
  int64_t prompt_tokens, held_tokens;  // held: of the prompt, which another text had read already
  int32_t last_token;                  // that was drawn; of a text that the model ended, the one that ends it
  std::exception_ptr error;            // what ended it, where text.reason is Interrupted for no callback's answer
};

struct BatchRequest {
  std::vector<int32_t> prompt;  // at least one token
  GenerateOptions options;      // the draft is the engine's; on_logits is called one at a time
  uint64_t sequence = 0;        // keys its draws beside the seed; 0 as generate() has it

  // Called by step(), in its thread, one after another; any may be empty, and may submit and cancel. Stop ends the
  // text, with StopReason::Interrupted.
  std::function<Flow(int32_t token)> on_token{};
  std::function<Flow(std::string_view text)> on_text{};  // whole characters as they become certain, behind their tokens
  std::function<Flow(int64_t read, int64_t total)> on_prompt{};  // tokens, while more than one pass is needed
  std::function<void(const Ended&)> on_end{};                    // last
  // What each token was drawn from (V); called by any thread of the model's.
  std::function<void(std::span<const float> logits)> on_drawn{};
};

class BatchEngine {
 public:
  // Both must outlive it; the workspace is free for others between steps. Error{Usage}: an option out of range.
  BatchEngine(const Model& model, Workspace& work, const EngineOptions& options);
  ~BatchEngine();

  // -> its number, from 1 on, never given twice. Error{Usage}, Error{Input}: a prompt or an option that cannot be, or
  // more keys and values than the engine may hold.
  uint64_t submit(BatchRequest request);
  // Nothing more is heard of a request, on_end neither; its memory is given back at once, out of a callback behind the
  // step. -> whether there was one
  bool cancel(uint64_t id);
  // One pass. -> whether there is more to do. What a model's numbers or a callback's exception do to one text ends that
  // text alone (Ended::error; what on_token, on_text and on_end throw comes out here). For want of memory it throws,
  // nothing has happened, and it may be called again. Error{Usage}: out of a callback.
  bool step(const Progress& progress = {});

  struct Load {
    int64_t active = 0, waiting = 0;
    uint64_t kv_bytes = 0, kept_bytes = 0;  // keys and values of the active; of texts that ended
  };
  Load load() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attar::runtime
