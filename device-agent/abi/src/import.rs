//! What an import of a module means.

use core::fmt;

use wasmbed_wire::limits::Class;

use crate::{Call, Capabilities, ValueType};

/// The module name imports carry that a module cannot do without.
pub const IMPORT_MODULE: &str = "wasmbed";
/// The module name imports carry that a module can do without: where the class lacks the call or it was not
/// granted, it answers [`Errno::Unsupported`](crate::Errno::Unsupported).
pub const OPTIONAL_IMPORT_MODULE: &str = "wasmbed-optional";

/// One function that a module imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Import {
    /// What it calls.
    pub call: Call,
    /// Whether the module can do without.
    pub optional: bool,
}

impl Import {
    /// What an import of a function means on a device of this class.
    ///
    /// # Errors
    /// If there is no such function, it has another type, or the class does not have it and the module cannot do
    /// without.
    pub fn read(
        class: Class,
        module: &str,
        name: &str,
        params: impl IntoIterator<Item = Option<ValueType>>,
        results: impl IntoIterator<Item = Option<ValueType>>,
    ) -> Result<Import, ImportError> {
        let optional = match module {
            IMPORT_MODULE => false,
            OPTIONAL_IMPORT_MODULE => true,
            _ => return Err(ImportError::UnknownModule),
        };
        let call = Call::by_name(name).ok_or(ImportError::UnknownFunction)?;
        if !call.signature().matches(params, results) {
            return Err(ImportError::WrongType(call));
        }
        if !optional && !call.capability().allowed_on(class) {
            return Err(ImportError::NotOnClass(call, class));
        }
        Ok(Import { call, optional })
    }

    /// Whether it can be linked: it is granted, or the module can do without.
    pub const fn is_met_by(self, granted: Capabilities) -> bool {
        self.optional || granted.contains(self.call.capability())
    }
}

/// Why an import cannot be satisfied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportError {
    /// Neither from [`IMPORT_MODULE`] nor from [`OPTIONAL_IMPORT_MODULE`].
    UnknownModule,
    /// No call has this name.
    UnknownFunction,
    /// The call has another type.
    WrongType(Call),
    /// Devices of this class do not have the call.
    NotOnClass(Call, Class),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::UnknownModule => {
                write!(f, "modules may import from `{IMPORT_MODULE}` and `{OPTIONAL_IMPORT_MODULE}` only")
            }
            ImportError::UnknownFunction => {
                f.write_str("there is no such function; there are:")?;
                Call::ALL.iter().try_for_each(|call| write!(f, " {}", call.name()))
            }
            ImportError::WrongType(call) => {
                write!(f, "`{}` has the type {}", call.name(), call.signature())
            }
            ImportError::NotOnClass(call, class) => {
                write!(
                    f,
                    "`{}` needs {}, which devices of class {class} lack; a module that can do without imports it \
                     from `{OPTIONAL_IMPORT_MODULE}`",
                    call.name(),
                    call.capability()
                )
            }
        }
    }
}

impl core::error::Error for ImportError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const I32: Option<ValueType> = Some(ValueType::I32);
    const I64: Option<ValueType> = Some(ValueType::I64);

    #[test]
    fn an_import_is_known_by_module_name_and_type() {
        let import = |module, name| Import::read(Class::Mcu, module, name, [I32; 2], [I32]);
        let found = |call, optional| Ok(Import { call, optional });
        assert_eq!(import("wasmbed", "gpio_write"), found(Call::GpioWrite, false));
        assert_eq!(import("wasmbed-optional", "gpio_write"), found(Call::GpioWrite, true));
        assert_eq!(import("env", "gpio_write"), Err(ImportError::UnknownModule));
        assert_eq!(import("wasmbed", "gpio_wriggle"), Err(ImportError::UnknownFunction));
        assert_eq!(import("wasmbed", "gpio_read"), Err(ImportError::WrongType(Call::GpioRead)));
    }

    #[test]
    fn results_and_unknown_types_count_too() {
        let import =
            |results: Option<ValueType>| Import::read(Class::Mpu, "wasmbed", "uptime_ms", [], [results]);
        assert_eq!(import(I64).map(|import| import.call), Ok(Call::UptimeMs));
        assert_eq!(import(I32), Err(ImportError::WrongType(Call::UptimeMs)));
        assert_eq!(import(None), Err(ImportError::WrongType(Call::UptimeMs)));
    }

    #[test]
    fn what_a_class_lacks_may_only_be_optional() {
        let import = |module| Import::read(Class::Mcu, module, "random", [I32; 2], [I32]);
        assert_eq!(import("wasmbed"), Err(ImportError::NotOnClass(Call::Random, Class::Mcu)));
        let random = import("wasmbed-optional").expect("optional");
        assert!(random.is_met_by(Capabilities::BASE));
        assert!(!Import { optional: false, ..random }.is_met_by(Capabilities::BASE));
        assert!(import("wasmbed-optional2").is_err());
    }

    #[test]
    fn a_refusal_says_what_would_be_right() {
        assert_eq!(
            ImportError::WrongType(Call::GpioWrite).to_string(),
            "`gpio_write` has the type (i32, i32) -> i32"
        );
        assert!(ImportError::UnknownFunction.to_string().contains("sensor_read"));
    }
}
