//! The templates in a PodFilesystemSync: what `remotePath` and the values of `env` come to for one Pod.
//!
//! Whoever may write a resource or a Pod may write a template or what it reads, and it is carried out inside the controller. So it
//! sees the Pod's metadata and spec and nothing else; it can read no file and include no other template; its steps and its length
//! are bounded; and nothing in it can grow what it holds: no assignments, no multiplication, no more than a few texts joined.
//!
//! What a template takes from the Pod stays text for the kubelet, which expands `$(NAME)` in arguments and variables: each `$` is
//! doubled. Only the name of a Pod that has none yet becomes such a reference, by intention.

mod view;

use self::view::{Missed, Unnamed};
use minijinja::machinery::{Token, tokenize};
use minijinja::value::{StringInput, Value as Shown, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, filters};
use serde_json::Value;
use std::io;
use std::sync::Arc;

/// A template, and any one text that it reads, is no longer; so that whatever one expression puts together stays small.
const TEMPLATE_BYTES: usize = 4 << 10;
/// What comes out is no longer.
const TEXT_BYTES: usize = 64 << 10;
/// A template takes no more steps, and sees no more keys of labels and annotations.
const STEPS: u64 = 20_000;
/// A template joins no more texts: what one expression puts together is copied at each join.
const JOINS: usize = 16;
/// Tags that neither assign nor load; raw is none, but a way to write text.
const TAGS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// Why a template comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is too long.
    #[error("it is {0} bytes long, and a template has at most {TEMPLATE_BYTES}")]
    Long(usize),
    /// It uses a tag that is not there.
    #[error("the tag {{% {0} %}} is not there; there are if, for and raw")]
    Tag(String),
    /// It multiplies.
    #[error("it multiplies; templates do not calculate with '*'. In a text, {{% raw %}}…{{% endraw %}} keeps braces as they are")]
    Multiplies,
    /// It has what would be a slice or a map.
    #[error(
        "it has a ':' outside of a text: there are no slices and no maps, and the argument of a filter stands in brackets, as in default(\"text\")"
    )]
    Colon,
    /// It joins many texts.
    #[error("it joins more than {JOINS} texts with '~' or '+'; what stands between two expressions is joined by itself")]
    Joins,
    /// A dollar stands before an expression, so that the two could become a reference for the kubelet.
    #[error("a '$' stands directly before an expression: what follows could become the name of a variable")]
    Dollar,
    /// The Pod lacks what it asks for.
    #[error(
        "the Pod has no {0}: add it to the Pod (of a Deployment: to its template), or give a default: {{{{ … | default(\"text\") }}}}"
    )]
    Missing(String),
    /// An object stands where a text should be.
    #[error("{0} is not a text: name one of its fields")]
    NoText(String),
    /// The name of a Pod that has none yet is used for more than being written.
    #[error(
        "pod.metadata.name is not made yet, and is filled in when the Pod starts: nothing can be made of it or compared with it. Write it by itself: {{{{ pod.metadata.name }}}}"
    )]
    Unnamed,
    /// The template language refuses it.
    #[error("{0}. The language is that of Jinja: the argument of a filter stands in brackets, as in default(\"text\")")]
    Language(String),
}

/// The Pod as templates see it.
#[derive(Debug)]
pub struct Templates {
    root: Arc<Value>,
}

impl Templates {
    /// For a Pod; the namespace is that of the request, since the Pod may not name it yet.
    pub fn new(pod: &Value, namespace: &str) -> Templates {
        let part = |name: &str| {
            pod.get(name).filter(|part| part.is_object()).cloned().unwrap_or_else(|| Value::Object(Default::default()))
        };
        let mut metadata = part("metadata");
        metadata["namespace"] = Value::from(namespace);
        Templates { root: Arc::new(serde_json::json!({"metadata": metadata, "spec": part("spec")})) }
    }

    /// What a template comes to where each value that it asks for must be there.
    pub fn strict(&self, source: &str) -> Result<String, TemplateError> {
        self.render(source, UndefinedBehavior::Strict)
    }

    /// What a template comes to where missing values are empty.
    pub fn lenient(&self, source: &str) -> Result<String, TemplateError> {
        self.render(source, UndefinedBehavior::Chainable)
    }

    fn render(&self, source: &str, undefined: UndefinedBehavior) -> Result<String, TemplateError> {
        if !is_template(source) {
            return Ok(source.to_string());
        }
        check(source)?;
        let missed = Arc::new(Missed::default());
        let pod = view::pod(&self.root, &missed);
        let (environment, mut out) = (environment(undefined), Bounded::default());
        let template = environment.template_from_str(source).map_err(|error| language(&error))?;
        let rendered = template.render_captured_to(minijinja::context! { pod => pod }, &mut out);
        if let Some(what) = missed.no_text() {
            return Err(TemplateError::NoText(what));
        }
        if missed.name() {
            return Err(TemplateError::Unnamed);
        }
        match rendered {
            _ if out.is_full => Err(TemplateError::Language(format!("it comes to more than {TEXT_BYTES} bytes"))),
            Ok(_) => String::from_utf8(out.text).map_err(|error| TemplateError::Language(error.to_string())),
            Err(error) if error.kind() == ErrorKind::UndefinedError => {
                Err(missed.last().map_or_else(|| language(&error), TemplateError::Missing))
            }
            Err(error) => Err(language(&error)),
        }
    }
}

/// Whether a text is a template at all: any other stays as it is, however long.
pub fn is_template(source: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| source.contains(mark))
}

/// What comes out, as far as it may.
#[derive(Default)]
struct Bounded {
    text: Vec<u8>,
    is_full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.text.len() + more.len() > TEXT_BYTES {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses what could make a template large or let it reach further, before anything of it is carried out. The language itself
/// says what is an operator and what a text. A slice makes it panic where the text is empty.
fn check(source: &str) -> Result<(), TemplateError> {
    if source.len() > TEMPLATE_BYTES {
        return Err(TemplateError::Long(source.len()));
    }
    for (at, _) in source.match_indices('{') {
        if source[at + 1..].starts_with(['{', '%', '#']) && source[..at].trim_end().ends_with('$') {
            return Err(TemplateError::Dollar);
        }
    }
    let (mut joins, mut begins_tag) = (0, false);
    for token in tokenize(source, false, Default::default()) {
        let (token, _) = token.map_err(|error| language(&error))?;
        match token {
            Token::Mul | Token::Pow => return Err(TemplateError::Multiplies),
            Token::Colon => return Err(TemplateError::Colon),
            Token::Tilde | Token::Plus => joins += 1,
            Token::Ident(tag) if begins_tag && !TAGS.contains(&tag) => return Err(TemplateError::Tag(tag.to_owned())),
            _ => {}
        }
        begins_tag = matches!(token, Token::BlockStart);
    }
    if joins > JOINS { Err(TemplateError::Joins) } else { Ok(()) }
}

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(STEPS));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|out, _, value| {
        if let Some(reference) = Unnamed::write(value) {
            return Ok(out.write_str(reference)?);
        }
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => {}
            ValueKind::String | ValueKind::Bool | ValueKind::Number => out.write_str(&value.to_string().replace('$', "$$"))?,
            kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("a {kind} is not a text"))),
        }
        Ok(())
    });
    environment.add_filter("lower", filters::lower);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("title", filters::title);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("length", filters::length);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("default", filters::default);
    environment.add_filter("d", filters::default);
    environment.add_filter("replace", replace);
    environment.add_filter("cut", |text: StringInput<'_>, what: String| text.as_str().replace(&what, ""));
    // The predecessor escaped HTML, and this kept it from doing so.
    environment.add_filter("safe", |text: &Shown| text.clone());
    environment.add_test("defined", |value: &Shown| !Unnamed::look(value).is_undefined());
    environment.add_test("undefined", |value: &Shown| Unnamed::look(value).is_undefined());
    environment.add_test("none", |value: &Shown| Unnamed::look(value).is_none());
    environment
}

/// Replaces parts of a text; of one that would become long, nothing is made.
fn replace(text: StringInput<'_>, from: StringInput<'_>, to: StringInput<'_>) -> Result<String, Error> {
    let (text, from, to) = (text.as_str(), from.as_str(), to.as_str());
    let length = text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len());
    if length > TEMPLATE_BYTES {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("replacing makes a text of more than {TEMPLATE_BYTES} bytes"),
        ));
    }
    Ok(text.replace(from, to))
}

/// What the language says, on one line.
fn language(error: &Error) -> TemplateError {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let line = error.line().filter(|line| *line > 1).map(|line| format!(" in line {line}")).unwrap_or_default();
    TemplateError::Language(format!("{}{detail}{line}", error.kind()).replace('\n', " "))
}
