//! A file that was read, with nothing wrong in it that can be told without the machine.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::check;
use crate::decode::{Places, Reader, Setting};
use crate::environment;
use crate::problem::{Kind, Problem, Problems};
use crate::sections::Config;
use crate::spdk;
use crate::text::{self, Format};
use crate::tree::Place;

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
        let unreadable = |why: String| {
            let problem = Problem::new(Kind::Unreadable, format!("{name} can't be read: {why}"));
            Problems::new(vec![problem])
        };
        let size = std::fs::metadata(path)
            .map_err(|error| unreadable(error.to_string()))?
            .len();
        if size > MOST {
            return Err(unreadable(format!("it has {size} bytes, more than {MOST}")));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            unreadable(format!("it is not UTF-8, at byte {at}"))
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
        let mut reader = Reader::new(&root);
        let config = Config::decode(&root, &mut reader);
        if whole_but_broken {
            // Where a line can't be read, keys may be missing that are there.
            reader
                .problems
                .retain(|problem| problem.kind != Kind::MissingKey);
        }
        problems.append(&mut reader.problems);
        let Some(config) = config.filter(|_| !whole_but_broken) else {
            return Err(Problems::new(problems));
        };
        let mut more = Vec::new();
        check::check(&config, &reader.places, &mut more);
        // What a value that can't be read makes look wrong is not.
        more.retain(|more| {
            !problems
                .iter()
                .any(|problem| is_about(&problem.path, &more.path))
        });
        problems.append(&mut more);
        if !problems.is_empty() {
            return Err(Problems::new(problems));
        }
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

/// Whether one of two settings is in the other.
fn is_about(one: &str, other: &str) -> bool {
    let within = |outer: &str, inner: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    within(one, other) || within(other, one)
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
