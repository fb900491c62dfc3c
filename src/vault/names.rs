//! Small sets of names that come from outside: kinds, uses, algorithms.

/// Declares an enum whose every value has one name, which is parsed without regard to case.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$each:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$each])* $value,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value,)*];

            /// The name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;
            fn from_str(text: &str) -> $crate::error::Result<Self> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.as_str().eq_ignore_ascii_case(text))
                    .ok_or_else(|| {
                        let known: Vec<_> = Self::ALL.iter().map(|value| format!("`{value}`")).collect();
                        $crate::error::Error::invalid(format!(
                            concat!("`{}` is not ", $what, ": use one of {}"),
                            text.escape_debug(),
                            known.join(", ")
                        ))
                    })
            }
        }
    };
}

pub(super) use names;
