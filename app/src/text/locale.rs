//! Reads the sentences of a locale file into tables whose fields are known at compile time.
//!
//! Not by serde: what it derives for tables of a hundred sentences took the compiler longer than the rest of the crate.

use toml::Value;

/// What a locale file has, less what was read, and what was missing.
pub(super) struct Source {
    value: Option<Value>,
    path: String,
    problems: Vec<String>,
}

impl Source {
    /// The whole file.
    pub(super) fn parse(locale: &str) -> Self {
        let (value, problems) = match locale.parse::<toml::Table>() {
            Ok(table) => (Some(Value::Table(table)), Vec::new()),
            Err(error) => (None, vec![error.to_string()]),
        };
        Self { value, path: String::new(), problems }
    }

    /// A field of the table that is being read.
    pub(super) fn read<T: Entry>(&mut self, key: &str) -> T {
        let value = self.value.as_mut().and_then(|value| value.as_table_mut()?.remove(key));
        let path = format!("{}.{key}", self.path).trim_start_matches('.').to_owned();
        let mut source = Self { value, path, problems: Vec::new() };
        let entry = T::read(&mut source);
        self.problems.append(&mut source.problems);
        entry
    }

    /// The sentence that stands here; empty when none does.
    pub(super) fn sentence(&mut self) -> String {
        match self.value.take() {
            Some(Value::String(sentence)) => sentence,
            _ => {
                self.problems.push(format!("{} is not there", self.path));
                String::new()
            }
        }
    }

    /// Notes what nobody asked for.
    pub(super) fn finish(&mut self) {
        let left = self.value.take().and_then(|value| value.as_table().cloned()).unwrap_or_default();
        self.problems.extend(left.keys().map(|key| format!("{}.{key} is superfluous", self.path)));
    }

    /// What is wrong with the file.
    pub(super) fn problems(self) -> Vec<String> {
        self.problems
    }
}

/// What a key of a locale file stands for: a sentence, or a table of them.
pub(super) trait Entry {
    /// Never fails: what is missing is empty, and noted.
    fn read(source: &mut Source) -> Self;
}

impl Entry for String {
    fn read(source: &mut Source) -> Self {
        source.sentence()
    }
}
