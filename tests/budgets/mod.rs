//! Budgets of a request, in counts instead of times: here the heap allocations of the engine. `run`
//! in this folder counts system calls, instructions, calls of malloc and memory of the real binary.

mod allocations;
mod heads;
mod reload;
mod traffic;
