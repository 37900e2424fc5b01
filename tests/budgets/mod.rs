//! Budgets of what a request costs, in things that are counted and not timed: here the engine's heap allocations. `run` in
//! this folder counts system calls, instructions, calls of malloc and memory of the real binary.

mod allocations;
mod heads;
mod traffic;
