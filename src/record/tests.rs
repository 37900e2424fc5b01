//! Records without secrets, and what is read of them.
