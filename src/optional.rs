//! Optional numbers that take no more room than the number: the largest one stands for none.
//!
//! A request in flight has many of them, and an `Option` needs a tag of its own, as large as the
//! number. Owners keep them and show an `Option`.

use core::fmt;

/// A `u32`, or none. [`u32::MAX`] itself cannot be kept: it becomes the number below.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OptionalU32(u32);

/// A `u16`, or none. [`u16::MAX`] itself cannot be kept: it becomes the number below.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OptionalU16(u16);

impl OptionalU32 {
    /// No number.
    pub const NONE: OptionalU32 = OptionalU32(u32::MAX);

    /// Keeps a number.
    pub const fn some(number: u32) -> OptionalU32 {
        OptionalU32(if number == u32::MAX {
            u32::MAX - 1
        } else {
            number
        })
    }

    /// Returns the number.
    pub const fn get(self) -> Option<u32> {
        if self.0 == u32::MAX {
            None
        } else {
            Some(self.0)
        }
    }
}

impl OptionalU16 {
    /// No number.
    pub const NONE: OptionalU16 = OptionalU16(u16::MAX);

    /// Keeps a number.
    pub const fn some(number: u16) -> OptionalU16 {
        OptionalU16(if number == u16::MAX {
            u16::MAX - 1
        } else {
            number
        })
    }

    /// Returns the number.
    pub const fn get(self) -> Option<u16> {
        if self.0 == u16::MAX {
            None
        } else {
            Some(self.0)
        }
    }
}

impl Default for OptionalU32 {
    fn default() -> OptionalU32 {
        OptionalU32::NONE
    }
}

impl Default for OptionalU16 {
    fn default() -> OptionalU16 {
        OptionalU16::NONE
    }
}

impl fmt::Debug for OptionalU32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for OptionalU16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_the_largest_one_is_cut() {
        assert_eq!(OptionalU32::default().get(), None);
        assert_eq!(OptionalU16::default().get(), None);
        for number in [0, 1, 65_534] {
            assert_eq!(OptionalU16::some(number).get(), Some(number));
            assert_eq!(OptionalU32::some(number.into()).get(), Some(number.into()));
        }
        assert_eq!(OptionalU16::some(u16::MAX).get(), Some(u16::MAX - 1));
        assert_eq!(OptionalU32::some(u32::MAX).get(), Some(u32::MAX - 1));
    }
}
