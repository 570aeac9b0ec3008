"""A CUDA device that does not exist: tensors say `cuda:0`, compute on the CPU, and refuse to meet CPU tensors.

    python -m pretend_cuda LEDGER.json MODULE ARGUMENTS     `python -m MODULE ARGUMENTS`, the device switched on
    python -m pretend_cuda.table LEDGER.json reinforce      shows what the host waited for, per step and micro-batch

Afterwards `torch.device("cuda")`, `tensor.to("cuda")`, autocast, Lightning's GPU accelerator, fused AdamW, CUDA graphs
and `torch.cuda.*` work on a CPU build of torch. It must be switched on before torch is imported: one process each.

How. `Pretend` (`tensor`) is a wrapper subclass whose metadata says cuda:0 and which holds a CPU tensor. Autograd,
autocast, views and version counters are torch's own, above the wrapper, with the dispatch keys of CUDA. Each operator
that reaches the device arrives in `operators`, which asks what a GPU would ask (`rules`: one device? a CUDA kernel?
does the host wait?), runs it on the CPU and wraps what comes out. `guard.cpp` tells torch's C++ that there is a
device; compiling it needs g++ and torch's own headers.

What it cannot see: kernels themselves (rounding, TF32, fused attention and its limits, determinism), memory, streams
(all work is done at once), pinned memory, a second device, code that calls CUDA past torch (bitsandbytes, vLLM).
"""
