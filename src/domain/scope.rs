//! Scopes: what an API key may do.

use super::wire_enum::wire_enum;

wire_enum! {
    /// One permission of an API key.
    Scope {
        /// Send, batch, preview, read and cancel notifications, and read their deliveries.
        Send = 1 "send",
        /// Every `GET` under `/v1` except `/v1/admin`.
        Read = 2 "read",
        /// Everything under `/v1/devices`, `/v1/topics`, `/v1/users`.
        Devices = 4 "devices",
        /// For mobile apps: register and unregister one device.
        Register = 8 "register",
        /// Everything of the app, and `/v1/admin`.
        Admin = 16 "admin",
    }
}

/// The permissions of an API key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scopes(i16);

/// Why a list of scopes is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadScopes {
    /// The list has a name that is not a scope.
    #[error("unknown scope {0:?}; there are send, read, devices, register, admin")]
    Unknown(String),
    /// The list has `register`, which is for apps, together with other scopes.
    #[error("register combines with no other scope")]
    RegisterNotAlone,
    /// The list is empty.
    #[error("a key needs at least one scope")]
    Empty,
}

impl Scopes {
    /// Parses a comma-separated list.
    pub fn parse(list: &str) -> Result<Self, BadScopes> {
        let mut bits = 0;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            bits |= Scope::parse(name).ok_or_else(|| BadScopes::Unknown(name.to_owned()))?.code();
        }
        match bits {
            0 => Err(BadScopes::Empty),
            _ if bits & Scope::Register.code() != 0 && bits != Scope::Register.code() => {
                Err(BadScopes::RegisterNotAlone)
            }
            _ => Ok(Self(bits)),
        }
    }

    /// The list that has this scope alone.
    pub fn only(scope: Scope) -> Self {
        Self(scope.code())
    }

    /// Does the list have this scope? `admin` does not imply other scopes here.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.code() != 0
    }

    /// Is it a publishable key, which is built into an app and may do little?
    pub fn is_publishable(self) -> bool {
        self.has(Scope::Register)
    }

    /// The names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Scope::ALL.iter().filter(move |scope| self.has(**scope)).map(|scope| scope.as_str())
    }

    /// The number in the database.
    pub fn code(self) -> i16 {
        self.0
    }

    /// The scopes of a number in the database.
    pub fn from_code(code: i16) -> Self {
        Self(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_is_combined_with_no_other_scope() {
        assert!(Scopes::parse("register").is_ok_and(Scopes::is_publishable));
        assert_eq!(Scopes::parse("register,send"), Err(BadScopes::RegisterNotAlone));
        assert_eq!(Scopes::parse("send,fly"), Err(BadScopes::Unknown("fly".to_owned())));
        assert_eq!(Scopes::parse(" , "), Err(BadScopes::Empty));
    }

    #[test]
    fn names_come_in_a_fixed_order() {
        let scopes = Scopes::parse("devices, send,read").expect("known scopes");
        assert_eq!(scopes.names().collect::<Vec<_>>(), ["send", "read", "devices"]);
        assert_eq!(Scopes::from_code(scopes.code()), scopes);
    }
}
