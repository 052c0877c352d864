//! The EAL's command line as options and values, whichever of getopt's spellings was used.

/// Long options that take a value as the next argument when there is no `=`.
const WITH_VALUE: &[&str] = &[
    "allow",
    "base-virtaddr",
    "block",
    "file-prefix",
    "force-max-simd-bitwidth",
    "huge-dir",
    "iova-mode",
    "lcores",
    "log-level",
    "main-lcore",
    "mbuf-pool-ops-name",
    "numa-limit",
    "numa-mem",
    "proc-type",
    "socket-limit",
    "socket-mem",
    "trace",
    "trace-bufsz",
    "trace-dir",
    "trace-mode",
    "vdev",
    "vfio-intr",
    "vfio-vf-token",
];

/// Short options that take a value, and the long ones that some of them stand for.
const SHORT: &[(char, &str)] = &[
    ('a', "allow"),
    ('b', "block"),
    ('c', "c"),
    ('d', "d"),
    ('l', "lcores"),
    ('m', "m"),
    ('n', "n"),
    ('r', "r"),
    ('s', "s"),
    ('S', "S"),
];

/// One option and its value, as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opt<'a> {
    /// Without dashes; short options that have a long name go by that.
    pub(super) name: &'a str,
    /// Empty for a flag.
    pub(super) value: &'a str,
}

impl Opt<'_> {
    /// As one would write it.
    pub(super) fn shown(&self) -> String {
        let dashes = if self.name.len() == 1 { "-" } else { "--" };
        match self.value {
            "" => format!("{dashes}{}", self.name),
            value if self.name.len() == 1 => format!("{dashes}{} {value}", self.name),
            value => format!("{dashes}{}={value}", self.name),
        }
    }
}

/// All options of an EAL command line.
#[derive(Debug)]
pub(super) struct Args<'a>(Vec<Opt<'a>>);

impl<'a> Args<'a> {
    pub(super) fn parse(arguments: &'a [String]) -> Self {
        let mut options = Vec::new();
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            if argument == "--" {
                break;
            }
            if let Some(long) = argument.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, value),
                    None if WITH_VALUE.contains(&long) => (long, rest.next().unwrap_or("")),
                    None => (long, ""),
                };
                options.push(Opt { name, value });
            } else if let Some(short) = argument.strip_prefix('-')
                && let Some(letter) = short.chars().next()
            {
                let attached = &short[letter.len_utf8()..];
                match SHORT.iter().find(|(short, _)| *short == letter) {
                    Some((_, name)) if attached.is_empty() => options.push(Opt {
                        name,
                        value: rest.next().unwrap_or(""),
                    }),
                    Some((_, name)) => options.push(Opt {
                        name,
                        value: attached,
                    }),
                    None => options.push(Opt {
                        name: short,
                        value: "",
                    }),
                }
            }
        }
        Self(options)
    }

    /// The options of this name, in order.
    pub(super) fn all(&self, name: &'a str) -> impl Iterator<Item = &Opt<'a>> {
        self.0.iter().filter(move |option| option.name == name)
    }

    /// The last option of this name, which is the one that counts.
    pub(super) fn get(&self, name: &'a str) -> Option<&Opt<'a>> {
        self.0.iter().rev().find(|option| option.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|option| option.name == name)
    }

    /// The virtual devices.
    pub(super) fn vdevs(&self) -> impl Iterator<Item = Device<'a>> {
        self.0
            .iter()
            .filter(|option| option.name == "vdev")
            .map(|option| Device::parse(option.value))
    }

    /// A process that attaches to another one's memory.
    pub(super) fn is_secondary(&self) -> bool {
        self.get("proc-type")
            .is_some_and(|option| option.value == "secondary")
    }
}

/// A device and its arguments: `net_tap0,iface=tp0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device<'a> {
    pub(super) name: &'a str,
    arguments: &'a str,
}

impl<'a> Device<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let (name, arguments) = text.split_once(',').unwrap_or((text, ""));
        Self { name, arguments }
    }

    /// The driver: the name without its number.
    pub(super) fn driver(&self) -> &'a str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit())
    }

    /// Whether it is told where its rings are, by address: the driver follows that unchecked.
    pub(crate) fn is_by_address(&self) -> bool {
        self.argument("internal").is_some()
    }

    /// The value of one argument.
    pub(super) fn argument(&self, key: &str) -> Option<&'a str> {
        self.arguments.split(',').find_map(|argument| {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            (name == key).then_some(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|&s| s.to_owned()).collect()
    }

    #[test]
    fn every_spelling_of_an_option_is_the_same_option() {
        let arguments = strings(&[
            "--no-huge",
            "-m",
            "64",
            "-l0-1",
            "--vdev",
            "net_null0",
            "--vdev=net_tap0,iface=x",
            "-a0000:01:00.0",
            "--",
            "-m",
            "7",
        ]);
        let args = Args::parse(&arguments);
        assert!(args.has("no-huge") && !args.has("in-memory"));
        assert_eq!(args.get("m").map(|o| o.value), Some("64"));
        assert_eq!(args.get("lcores").map(|o| o.value), Some("0-1"));
        assert_eq!(args.get("allow").map(|o| o.value), Some("0000:01:00.0"));
        let vdevs: Vec<_> = args.vdevs().map(|device| device.name).collect();
        assert_eq!(vdevs, ["net_null0", "net_tap0"]);
        assert_eq!(args.get("m").map(Opt::shown).as_deref(), Some("-m 64"));
        assert_eq!(
            args.get("vdev").map(Opt::shown).as_deref(),
            Some("--vdev=net_tap0,iface=x")
        );
    }

    #[test]
    fn a_missing_value_is_an_empty_one() {
        let arguments = strings(&["--vdev"]);
        let args = Args::parse(&arguments);
        assert_eq!(args.get("vdev").map(|o| o.value), Some(""));
    }

    #[test]
    fn a_device_has_a_driver_and_arguments() {
        let device = Device::parse("net_tap12,iface=tp0,mac=fixed,flag");
        assert_eq!(device.driver(), "net_tap");
        assert_eq!(device.argument("iface"), Some("tp0"));
        assert_eq!(device.argument("flag"), Some(""));
        assert_eq!(device.argument("fac"), None);
    }
}
