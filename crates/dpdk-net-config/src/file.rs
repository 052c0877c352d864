//! A file that was read, with nothing wrong in it that can be told without the machine.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::check;
use crate::decode::{Reader, Setting};
use crate::environment;
use crate::places::Places;
use crate::problem::{Kind, Problem, Problems};
use crate::sections::Config;
use crate::spdk;
use crate::text::{self, Format};
use crate::tree::Place;
use crate::value::Size;

/// The largest file that is read: what people write is a thousandth of it.
const MOST: u64 = 4 << 20;

/// Settings, and where each was written.
#[derive(Debug, Clone)]
pub struct File {
    name: String,
    path: Option<PathBuf>,
    config: Config,
    places: Places,
}

impl File {
    /// Reads a file and the process's environment ([`PREFIX`](crate::PREFIX)).
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Problems> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let unreadable =
            |why: String| Problem::new(Kind::Unreadable, format!("{name} can't be read: {why}"));
        let alone = |problem: Problem| Problems::new(vec![problem]);
        let mut bytes = Vec::new();
        // What is no regular file may have no end.
        std::fs::File::open(path)
            .and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes))
            .map_err(|error| alone(unreadable(error.to_string())))?;
        if bytes.len() as u64 > MOST {
            let why = format!("it has more than {}", Size(MOST));
            return Err(alone(unreadable(why)));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..at).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let problem = unreadable(format!("line {line} is not UTF-8"))
                .help("save it as UTF-8, as TOML and JSON have to be");
            alone(problem)
        })?;
        // What is not UTF-8 in the environment is none of ours, or becomes a text that is refused.
        let variables = std::env::vars_os().map(|(name, value)| {
            let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
            (text(name), text(value))
        });
        let mut file = Self::parse(&name, &text, Format::of(&name, &text), variables)?;
        file.path = Some(path.to_owned());
        Ok(file)
    }

    /// Reads a text, which messages call `name`, and settings from environment variables.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        name: &str,
        text: &str,
        format: Format,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let root = text::parse(name, text, format, &mut problems);
        let whole_but_broken = !problems.is_empty();
        let Some(mut root) = root else {
            return Err(Problems::new(problems));
        };
        if spdk::is_spdk(&root) {
            root = spdk::unfold(root, LISTS, &mut problems);
        }
        environment::apply(&mut root, variables, &mut problems);
        let mut reader = Reader::new(&root, whole_but_broken);
        let config = Config::decode(&root, &mut reader);
        let mut more = Vec::new();
        if let (Some(config), false) = (&config, whole_but_broken) {
            check::check(config, &reader.places, &mut more);
        }
        // What a value that can't be read makes look wrong is not, and a subsystem that can't be may have what is missing.
        let unread: Vec<&str> = (reader.problems.iter().map(|problem| problem.path.as_str()))
            .chain(reader.meant.iter().map(String::as_str))
            .collect();
        let unfolded = problems.is_empty();
        more.retain(|more| {
            (unfolded || more.kind != Kind::MissingKey)
                && !unread.iter().any(|unread| more.follows_from(unread))
        });
        problems.append(&mut reader.problems);
        problems.append(&mut more);
        let config = config.filter(|_| problems.is_empty());
        let Some(config) = config else {
            return Err(Problems::new(problems));
        };
        Ok(Self {
            name: name.to_owned(),
            path: None,
            config,
            places: reader.places,
        })
    }

    /// Its name, as messages have it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was read from; nothing for a text.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the application calls a port, by its place in the file: the name that it was given, or else the interface's, the virtual
    /// device's or the PCI address.
    pub fn port_name(&self, index: usize) -> String {
        let port = self.config.port.get(index);
        port.map_or_else(String::new, |port| check::port_name(port, index))
    }

    /// The interface, virtual device or PCI address of a port, by its place in the file.
    pub fn device_name(&self, index: usize) -> String {
        let port = self.config.port.get(index);
        let unnamed = port.map(|port| crate::sections::Port {
            name: None,
            ..port.clone()
        });
        unnamed.map_or_else(String::new, |port| check::port_name(&port, index))
    }

    /// Where a setting was written, by its path, as in `port[0].mtu`, or else where the nearest was that it is in.
    pub fn place(&self, path: &str) -> &Place {
        self.places.nearest(path)
    }

    /// That the machine refuses a setting, with the line that asks for it: what is wrong, and what to do about it.
    pub fn refuse(
        &self,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem::new(Kind::Refused, message)
            .on(path)
            .at(self.place(path), "")
            .help(help)
    }

    /// That a setting may not do what it is meant to, though nothing refuses it: why, and what to do about it.
    pub fn warn(&self, path: &str, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem {
            kind: Kind::Warning,
            ..self.refuse(path, message, help)
        }
    }

    /// What is no mistake in the file, and not meant so perhaps.
    pub fn warnings(&self) -> Vec<Problem> {
        check::warnings(self)
    }

    /// Several such.
    ///
    /// # Errors
    /// The problems, if there are any.
    pub fn refused(problems: Vec<Problem>) -> Result<(), Problems> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems::new(problems))
        }
    }

    /// The table `[app]` as the application's own type; its default if there is none.
    ///
    /// # Errors
    /// What is wrong with it, the first thing that `T` finds.
    pub fn app<T: DeserializeOwned + Default>(&self) -> Result<T, Problems> {
        let Some(app) = &self.config.app else {
            return Ok(T::default());
        };
        let json = Json::Object(app.0.clone());
        serde_path_to_error::deserialize(json).map_err(|error| {
            let path = match error.path().to_string().as_str() {
                "." => "app".to_owned(),
                path => format!("app.{path}"),
            };
            let message = format!("`{path}`: {}", error.inner());
            let problem = Problem::new(Kind::BadValue, message)
                .at(self.place(&path), "")
                .on(path);
            Problems::new(vec![problem])
        })
    }

    /// The settings as JSON, those that were given.
    pub fn to_json(&self) -> Json {
        self.config.to_json()
    }
}

/// Sections that are lists.
pub(crate) const LISTS: &[&str] = &["port", "listener", "route"];

/// The JSON Schema (2020-12) of a configuration, made from the types that read it. It holds for TOML as well as JSON.
pub fn schema() -> Json {
    let mut schema = Config::schema();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        schema.insert("title".to_owned(), json!("dpdk-net configuration"));
    }
    schema
}
