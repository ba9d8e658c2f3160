"""The stages one by one, on files: prune, distill, quantize, export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ._call import Path, Paths, Progress, Texts, call, checked, toolkit
from ._result import Result

if TYPE_CHECKING:
    import numpy.typing as npt


@checked
def prune(
    model: Path,
    out: Path,
    *,
    data: Paths = (),
    resume: bool = False,
    force: bool = False,
    to: str = "",
    # fields of prune
    drop_layers: int = 0,
    layer_choice: str = "influence",
    keep_layers: Sequence[int] | None = None,
    drop_ffn: float = 0.0,
    drop_heads: float = 0.0,
    keep_vocab: int = 0,
    round_channels: int = 64,
    refit: bool = True,
    damping: float = 0.003,
    calibration_tokens: int = 8192,
    chat_template: Path = "",
    end_of_text: bool = True,
    deduplicate: float = 0.0,
    # end of fields
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Removes layers, channels, heads or vocabulary of `model`. -> sizes before and after, what went from each layer, notes

    model: a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME".
    out: what to write: a file ending in .gguf, or a folder.
    data: text to measure the model on: files, folders or patterns (.txt or .jsonl, also .gz).
    resume: go on behind the last cut in OUT.steps, where Ctrl-C, an exception of `progress` or a crash left it.
    force: write over an `out` that is there.
    to: the tensor type of a GGUF; F16 without it.
    seed, threads, progress: as everywhere (help(attar)).

    Options:
    drop_layers: number of layers to remove, those that change the hidden state least unless layer_choice says otherwise
    layer_choice: which layers drop_layers leaves: influence, all but those that change the hidden state least on the calibration data;
        uniform, evenly spaced ones, the first and the last among them, whatever they do
    keep_layers: the layers that stay, by their numbers from 0 on, ascending, in place of drop_layers; no text is asked
    drop_ffn: share of the feed-forward channels to remove from every layer, 0 <= x < 1
    drop_heads: share of the KV groups to remove from every layer, each with its query heads, 0 <= x < 1; rounded to the nearest count, one
        group stays
    keep_vocab: number of tokens to keep in the vocabulary; 0 keeps all
    round_channels: feed-forward widths are multiples of this
    refit: fit what is left of each output projection to the whole model's output by least squares
    damping: share of itself added to each entry of the diagonal of X^T X before it is inverted
    calibration_tokens: tokens of the calibration data to use
    chat_template: chat template of the chats: a file, or chatml, llama3, gemma, phi3 or zephyr; without it the model's own
    end_of_text: plain documents end with the EOS token
    deduplicate: drop documents that share this part of their runs of five words with an earlier one (Jaccard similarity), such as 0.8; 1
        for the same words alone, 0 for none
    """
    return Result(call(toolkit().prune, locals()))


@checked
def distill(
    teacher: Path,
    student: Path,
    out: Path,
    *,
    data: Paths,
    evaluation: Paths = (),
    resume: bool = False,
    force: bool = False,
    to: str = "",
    # fields of distill
    tokens: int = 100000,
    losses: Mapping[str, float] = {"forward_kl": 1.0},
    loss_settings: Mapping[str, float] = {},
    temperature: float = 1.0,
    features: Mapping[str, float] = {},
    feature_layers: Texts = (),
    optimizer: str = "adamw",
    learning_rate: float = 0.0003,
    schedule: str = "cosine",
    final_learning_rate_ratio: float = 0.1,
    warmup: float = 0.05,
    decay: float = 0.2,
    weight_decay: float = 0.0,
    beta1: float = 0.9,
    beta2: float = 0.95,
    epsilon: float = 1e-08,
    muon_momentum: float = 0.8,
    clip_norm: float = 1.0,
    spike_factor: float = 0.0,
    ema: float = 0.0,
    batch_tokens: int = 2048,
    sequence_tokens: int = 0,
    precision: str = "fp32",
    device: str = "cpu",
    gradient_checkpointing: bool = False,
    checkpoint_every_steps: int = 50,
    signal: str = "auto",
    signal_top_k: int = 64,
    signal_samples: int = 24,
    signal_numerics: str = "fp32",
    unsignalled: str = "cross_entropy",
    held_out_tokens: int = 0,
    held_out_every_steps: int = 50,
    keep: str = "last",
    patience: int = 0,
    position_share: float = 1.0,
    curriculum: float = 0.0,
    on_policy: float = 0.0,
    rollouts: int = 64,
    rollout_tokens: int = 128,
    rollout_prompt_tokens: int = 32,
    rollout_temperature: float = 1.0,
    replay: float = 0.0,
    frozen: Texts = (),
    lora_rank: int = 0,
    lora_alpha: float = 16.0,
    lora_targets: Texts = (),
    keep_zeros: bool = False,
    arms: bool = False,
    arm_seeds: int = 1,
    chat_template: Path = "",
    end_of_text: bool = True,
    deduplicate: float = 0.0,
    # end of fields
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Teaches `student` what `teacher` thinks of a text. -> steps, tokens, final_loss, notes; with arms=True the controls: arms

    teacher, student: GGUF files, Hugging Face directories, "pip:PACKAGE" or "hf:ORG/NAME".
    out: what to write: a file ending in .gguf, or a folder.
    data: text to learn from: files, folders or patterns (.txt or .jsonl, also .gz).
    evaluation: with arms=True: text to judge on, which nobody learns from.
    resume: go on from the last checkpoint in OUT.steps, where Ctrl-C, an exception of `progress` or a crash left it.
    force: write over an `out` that is there.
    to: the tensor type of a GGUF; F16 without it.
    seed, threads, progress: as everywhere (help(attar)).

    Options:
    tokens: tokens to train on, counted where the loss is; the data repeats when it is shorter
    losses: weights of the losses, such as {"forward_kl": 1.0, "cross_entropy": 0.1}
    loss_settings: what losses have of their own, such as {"jsd_beta": 0.3, "reverse_kl_temperature": 2, "label_smoothing": 0.1}
    temperature: softens both distributions of the distillation losses
    features: what the student shares with the teacher inside, with weights, such as {"hidden_mse": 0.1}; the teacher runs beside it
    feature_layers: features: pairs of layers student:teacher that are compared, counted from 0, such as 3:7; all of the student's, with
        those of the teacher at equal steps, without it
    optimizer: adamw, or muon: matrices of the layers by steps of equal size in all directions, embeddings, head and norms by AdamW, at the
        same rate
    learning_rate: peak learning rate
    schedule: how the rate falls after the warm-up: cosine, wsd (stays, then falls over the last share, decay, as 1 - sqrt), linear or
        constant
    final_learning_rate_ratio: the schedule ends at this share of the peak; not constant
    warmup: share of the tokens over which the rate rises linearly
    decay: wsd: share of the tokens, the last, over which the rate falls
    weight_decay: decoupled weight decay of matrices
    beta1: AdamW: decay of the first moment
    beta2: AdamW: decay of the second moment
    epsilon: AdamW: added to the denominator
    muon_momentum: Muon: decay of the sum of gradients (Nesterov's)
    clip_norm: largest global norm of the gradient; 0 for off
    spike_factor: a step whose loss or gradient norm is more than so many times the median of the 64 steps before it changes nothing, and is
        counted; 0 for never
    ema: judge by held-out tokens, and give back, the moving average of the weights that keeps this share of itself at each step, such as
        0.999 (less in the first steps); 0 for the weights themselves
    batch_tokens: tokens a step that are learned to predict
    sequence_tokens: longest sequence, longer documents are cut; 0 for 512, or the model's context where that is shorter
    precision: of matrix products: fp32, bf16 (sums and all else fp32; about twice as fast where the processor multiplies it) or auto: bf16
        where it does
    device: where models go forward and back: cpu, cuda (a GPU that LibTorch finds; sums are rounded otherwise there) or auto: cuda where
        there is one
    gradient_checkpointing: keep less for the way back and compute layers once more there: less memory, a third more work, the same bytes
    checkpoint_every_steps: steps between checkpoints; 0 for none
    signal: auto, online (the teacher runs beside the student), or kept from the writing of the data or one pass over it: cached (its
        top-k), sampled (unbiased, about thirty bytes a token) or hidden (the states that its head makes logits of, about its width in
        bytes); auto: cached where all of the data has it and the temperature is 1
    signal_top_k: cached: teacher probabilities kept at each token
    signal_samples: sampled: draws at each token, as far as its likeliest tokens leave mass to draw from; 24 are about 30 bytes
    signal_numerics: cached, sampled, hidden: the teacher as it is asked where the data has no signal: fp32 or deployed (int8 activations,
        faster), both by the runtime on the processor, or training: by the passes of the training, on its device and in its precision
    unsignalled: cached, sampled: what a token is learned by that the signal says nothing about, as where a cut vocabulary spells text anew:
        cross_entropy (the text itself) or online (the teacher runs beside the student)
    held_out_tokens: tokens of the data that are kept apart: the loss on them says whether what is learned carries over; 0 for none
    held_out_every_steps: steps between two looks at what is held out
    keep: what the training gives back: its last weights, or the best by the loss on what is held out
    patience: stop after so many looks at what is held out without a lower loss than before; 0 for never
    position_share: share of the tokens of a step that the losses look at, such as 0.25: those where the student is least sure, by the
        entropy of what it predicts (SE-KD); 1 for all
    curriculum: share of the tokens over which documents come in from easy to hard, by the teacher's own loss on them; 0: all of them from
        the beginning
    on_policy: share of the steps that learn from what the student itself writes, by what the teacher says of it; 0 for none
    rollouts: on_policy: texts that the student writes at once, as it is at that time
    rollout_tokens: on_policy: most tokens that it writes in a text
    rollout_prompt_tokens: on_policy: first tokens of a document that it goes on from; of a chat it is all before the first answer
    rollout_temperature: on_policy: randomness of what it writes; 1 is its own distribution
    replay: on_policy: share of the texts of such a step that were learned from before, out of the last four writings
    frozen: roles of tensors that stay as they are, such as embedding, output
    lora_rank: rank of low-rank adapters (LoRA), which alone are trained and then merged; 0: all weights are trained
    lora_alpha: LoRA: adapters count by this over their rank
    lora_targets: LoRA: roles of the matrices that get adapters, such as query, value, down; all of the layers without it
    keep_zeros: weights of the student's matrices that are 0 stay 0: for a student that was made sparse; adapters (LoRA) keep to it too
    arms: does distilling pay: train four arms at the same tokens and seed, from random weights and from the student, each by cross-entropy
        alone and by the losses, and judge them on the evaluation text; the last one goes on
    arm_seeds: arms: seeds that every arm is trained with; the student is that of the first
    chat_template: chat template of the chats: a file, or chatml, llama3, gemma, phi3 or zephyr; without it the model's own
    end_of_text: plain documents end with the EOS token
    deduplicate: drop documents that share this part of their runs of five words with an earlier one (Jaccard similarity), such as 0.8; 1
        for the same words alone, 0 for none
    """
    return Result(call(toolkit().distill, locals()))


@checked
def quantize(
    model: Path,
    out: Path,
    *,
    # fields of quantize
    to: str | None = None,
    target_size: str | None = None,
    target_bpw: float | None = None,
    max_kl: float | None = None,
    keep: Mapping[str, str] = {},
    kv: str | None = None,
    compat: str = "2026",
    lattice: bool = False,
    fallback: bool = True,
    preset: str = "best",
    importance: bool = True,
    calibration_tokens: int = 0,
    block_steps: int = 0,
    qad_tokens: int = 200000,
    qad_losses: Mapping[str, float] = {"forward_kl": 1.0},
    qad_learning_rate: float = 0.0001,
    qad_scale_rate: float = 0.1,
    qad_trains: str = "all",
    qad_batch_tokens: int = 1024,
    qad_signal: str = "auto",
    qad_precision: str = "auto",
    chat_template: Path = "",
    end_of_text: bool = True,
    deduplicate: float = 0.0,
    # end of fields
    data: Paths = (),
    train: Paths = (),
    imatrix: Path = "",
    imatrix_out: Path = "",
    cache: Path = "",
    resume: bool = False,
    force: bool = False,
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Writes `model` as a compact GGUF. -> its size, every tensor's type and error, fallbacks, notes

    model: a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME".
    out: what to write: a file ending in .gguf.
    data: text that says which inputs matter: files, folders or patterns (.txt or .jsonl, also .gz).
    train: with preset="learned": text to learn from in place of `data`.
    imatrix, imatrix_out: an importance matrix of llama-imatrix (GGUF) in place of `data`; where to write what `data` says as one.
    cache: a folder that keeps what is measured for a size or a loss: another budget of the same model and text takes it from there.
    resume, force: go on with what a run left in OUT.steps when it was broken off; write over an `out` that is there.
    seed, threads, progress: as everywhere (help(attar)).

    Options:
    to: a tensor type, which every matrix gets that can hold it: Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, IQ4_NL, IQ4_XS, NVFP4,
        MXFP4, Q3_K, IQ3_S, IQ3_XXS, Q2_K, IQ2_S, IQ2_XS, IQ2_XXS, Q2_0, TQ2_0, TQ1_0, IQ1_M, IQ1_S, Q1_0, F16, BF16 or F32; or a preset of
        llama.cpp, whose plan is reproduced: Q5_K_M, Q5_K_S, Q4_K_M, Q4_K_S, Q3_K_L, Q3_K_M, Q3_K_S, IQ3_M, IQ3_XS, IQ2_M, Q2_K_S,
        MXFP4_MOE, or one that is named like a type, after MOSTLY_: MOSTLY_Q4_0, MOSTLY_Q2_K, ...
    target_size: largest size of the whole file, such as 60MB; each tensor gets the type that loses least in all
    target_bpw: the same as bits of the whole file a weight, such as 4.5
    max_kl: smallest file whose predicted KL divergence from the model, in nats a token, is at most this; needs text
    keep: types by role, such as embedding=Q8_0; roles: embedding, output, query, key, value, attention_output, gate, up, down
    kv: keys and values as Attar's runtime keeps them: int8 (half the memory) or f16; without it as the model's file says
    compat: year of the llama.cpp that must load the file: 2024, 2025 (adds MXFP4) or 2026 (adds NVFP4, Q2_0, Q1_0); for types that a size
        chooses
    lattice: let a size choose the types of codebooks too (IQ1_S to IQ3_S), which keep most at two and three bits but take longer to read
        than others of their size
    fallback: where a row does not divide by a type's block, take another type and say so
    preset: fast: each weight is rounded by itself, for a first look; best, the one to take, where there is text: each is rounded so that
        the others make up for it (GPTQ); learned, where few bits lose too much and time is there: as best, then the quantized model learns
        from its teacher (QAD), for qad_tokens
    importance: weigh errors by the mean square of each input on the calibration data
    calibration_tokens: tokens of the calibration data to use; 0 for as many as the preset wants: fast 8,192, best and learned 16 for each
        input of the widest layer, from 8,192 to 65,536
    block_steps: best, learned: steps of 2,048 tokens by which each block, once rounded, learns the codes and scales that give nearly what
        it gave unquantized; 200 take several times as long as best itself, and do most where bits are few; 0 for none
    qad_tokens: preset learned: tokens to train on; the data repeats when it is shorter
    qad_losses: preset learned: weights of the losses that it learns from its teacher by, such as {"forward_kl": 0.5, "jsd": 0.5}: those of
        distill but aligned_likelihood and uld, which are for another tokenizer
    qad_learning_rate: preset learned: peak learning rate of AdamW, which falls linearly to 0
    qad_scale_rate: preset learned: learning rate of the block scales, relative to that of the weights
    qad_trains: preset learned: what is trained: all, or scales (block scales and norms; the codes stay as they were chosen)
    qad_batch_tokens: preset learned: tokens a step that are learned to predict
    qad_signal: preset learned: auto, online (the teacher runs beside the student) or cached (its top-k, kept from the writing of the data
        or from one pass over it)
    qad_precision: preset learned: precision of matrix products: fp32, bf16 (sums and all else fp32) or auto: bf16 where the processor
        multiplies it
    chat_template: chat template of the chats: a file, or chatml, llama3, gemma, phi3 or zephyr; without it the model's own
    end_of_text: plain documents end with the EOS token
    deduplicate: drop documents that share this part of their runs of five words with an earlier one (Jaccard similarity), such as 0.8; 1
        for the same words alone, 0 for none
    """
    return Result(call(toolkit().quantize, locals()))


@checked
def export(
    model: Path,
    out: Path,
    *,
    to: str = "",
    force: bool = False,
    # fields of export
    format: str = "gguf",
    dtype: str = "",
    dequantized: bool = False,
    split_size: str = "",
    # end of fields
    threads: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Converts or repacks `model`. -> the file or directory, its size, notes

    model: a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME".
    out: what to write: a file ending in .gguf, or a folder.
    to: the tensor type of the GGUF; without it tensors keep theirs.
    force: write over an `out` that is there.
    threads, progress: as everywhere (help(attar)).

    Options:
    format: gguf; hf: a Hugging Face directory, of a GGUF the values that its codes stand for; compressed-tensors: one of integer codes, as
        a GGUF's or those of to
    dtype: numbers of a Hugging Face directory: float32 (without it) or bfloat16
    dequantized: hf: write the values that codes of type to stand for, or those of a GGUF's own codes
    split_size: gguf: most bytes of one file, such as 2GB; a larger model becomes out-00001-of-0000N.gguf, ...
    """
    return Result(call(toolkit().export, locals()))


@checked
def with_tensors(model: Path, tensors: Mapping[str, npt.ArrayLike], out: Path, *, force: bool = False) -> None:
    """Writes `model` with some tensors replaced as a Hugging Face directory.

    model: a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME".
    tensors: NumPy or torch arrays by Hugging Face or GGUF name.
    out: the folder to write.
    force: write over an `out` that is there.
    """
    from ._arrays import weights

    toolkit().with_tensors(model=model, tensors={name: weights(name, value) for name, value in tensors.items()}, out=out, force=force)
