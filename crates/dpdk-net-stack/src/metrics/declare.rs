//! The macros that declare groups of figures.

/// Declares a group of counters: the public snapshot of `u64`s, and the struct of [`Count`](crate::metrics::Count)s, private to the
/// crate, that is added to and makes a snapshot.
///
/// A field is `name`, `name: Unit`, `name = "LinuxName"` or `name: Unit = "LinuxName"`; its documentation is its help.
#[macro_export]
#[doc(hidden)]
macro_rules! counters {
    ($(#[$outer:meta])* pub struct $snapshot:ident, $counters:ident { $($fields:tt)* }) => {
        $crate::figures! {
            Counter, u64, $crate::metrics::Count, get,
            $(#[$outer])* #[derive(Copy)] $snapshot, $counters { $($fields)* }
        }

        impl $snapshot {
            /// Each counter with its name, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                self.metrics().map(|(metric, value)| (metric.name, value))
            }
        }
    };
}

/// Declares a group of histograms, as [`counters!`](crate::counters) does counters.
#[macro_export]
#[doc(hidden)]
macro_rules! histograms {
    ($(#[$outer:meta])* pub struct $snapshot:ident, $histograms:ident { $($fields:tt)* }) => {
        $crate::figures! {
            Histogram, $crate::metrics::HistogramSnapshot, $crate::metrics::Histogram, snapshot,
            $(#[$outer])* $snapshot, $histograms { $($fields)* }
        }
    };
}

/// Declares a group of gauges: only the snapshot, as a gauge is read when it is asked for.
#[macro_export]
#[doc(hidden)]
macro_rules! gauges {
    ($(#[$outer:meta])* pub struct $snapshot:ident { $($fields:tt)* }) => {
        $crate::snapshot! { Gauge, u64, $(#[$outer])* #[derive(Copy)] $snapshot { $($fields)* } }
    };
}

/// A snapshot, and what is added to.
#[macro_export]
#[doc(hidden)]
macro_rules! figures {
    ($kind:ident, $value:ty, $figure:ty, $get:ident, $(#[$outer:meta])* $snapshot:ident, $figures:ident {
        $($(#[doc = $doc:literal])+ $field:ident $(: $unit:ident)? $(= $linux:literal)?,)*
    }) => {
        $crate::snapshot! {
            $kind, $value,
            $(#[$outer])* $snapshot { $($(#[doc = $doc])+ $field $(: $unit)? $(= $linux)?,)* }
        }

        #[doc = concat!("What [`", stringify!($snapshot), "`] is a snapshot of.")]
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $figures {
            $(pub(crate) $field: $figure,)*
        }

        impl $figures {
            #[inline]
            pub(crate) fn snapshot(&self) -> $snapshot {
                $snapshot { $($field: self.$field.$get(),)* }
            }
        }
    };
}

/// A snapshot.
#[macro_export]
#[doc(hidden)]
macro_rules! snapshot {
    ($kind:ident, $value:ty, $(#[$outer:meta])* $snapshot:ident {
        $($(#[doc = $doc:literal])+ $field:ident $(: $unit:ident)? $(= $linux:literal)?,)*
    }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $snapshot {
            $(
                $(#[doc = $doc])+
                $(#[doc = concat!("\n\nLinux: `", $linux, "`.")])?
                pub $field: $value,
            )*
        }

        impl $snapshot {
            /// What is known of each figure, in the order of declaration.
            pub const METRICS: &'static [$crate::metrics::Metric] = &[$(
                $crate::metrics::Metric {
                    name: stringify!($field),
                    help: concat!($($doc),+).trim_ascii(),
                    unit: [$($crate::metrics::Unit::$unit,)? $crate::metrics::Unit::None][0],
                    kind: $crate::metrics::Kind::$kind,
                    linux: [$(Some($linux),)? None][0],
                },
            )*];

            /// Each figure, in the order of declaration.
            pub fn metrics(
                &self,
            ) -> impl Iterator<Item = (&'static $crate::metrics::Metric, $value)> + use<> {
                Self::METRICS.iter().zip([$(Clone::clone(&self.$field),)*])
            }
        }
    };
}
