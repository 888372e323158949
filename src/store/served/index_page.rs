//! Folders of a web server, as its index pages show them: every link to something directly inside.

use data_encoding::HEXLOWER_PERMISSIVE;

/// The names that a page links to, folders with a slash at their end, sorted. `None` when it is not a page of links.
pub(super) fn names(page: &str) -> Option<Vec<String>> {
    let lower = page.to_ascii_lowercase();
    if !lower.contains("<html") && !lower.contains("<a ") {
        return None;
    }
    let mut names = Vec::new();
    let mut rest = 0;
    while let Some(at) = lower.get(rest..).and_then(|text| text.find("href=")) {
        let start = rest + at + "href=".len();
        rest = start;
        let Some(link) = page.get(start..).and_then(quoted) else { continue };
        names.extend(name(link));
    }
    names.sort();
    names.dedup();
    Some(names)
}

fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|letter| matches!(letter, '"' | '\''))?;
    text.get(1..)?.split(quote).next()
}

/// Links upwards, elsewhere, into a page or to another order of it name nothing inside.
fn name(link: &str) -> Option<String> {
    let link = link.replace("&amp;", "&").replace("&#x27;", "'").replace("&#39;", "'");
    let link = link.strip_prefix("./").unwrap_or(&link);
    let (body, slash) = link.strip_suffix('/').map_or((link, ""), |body| (body, "/"));
    if body.is_empty() || body.contains(['/', '?', '#']) || has_scheme(body) {
        return None;
    }
    let name = decoded(body)?;
    let fit = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    fit.then(|| name + slash)
}

fn has_scheme(link: &str) -> bool {
    link.split_once(':').is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (code, plain) = piece.split_at_checked(2)?;
        bytes.extend(HEXLOWER_PERMISSIVE.decode(code.as_bytes()).ok()?);
        bytes.extend(plain.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn only_what_lies_directly_inside_is_read_from_a_page() {
        let page = "<HTML><a href=\"../\">up</a> <a href='?C=N;O=D'>Name</a> <A HREF=\"/elsewhere\">x</A>\
            <a href=\"https://host/x\">x</a> <a href=\"mailto:a\">x</a> <a href=\"#top\">x</a> <a href=\"deep/er\">x</a>\
            <a href=\"b%20c%C3%BC\">b</a> <a href=\"folder/\">f</a> <a href=\"./a&amp;b\">a</a> <a href=\"b%20c%C3%BC\">b</a>\
            <a href=\"%2e%2e/\">sly</a> <a href=\"a%2fb\">sly</a> <a href=\"bad%zz\">x</a> <a href=unquoted>x</a>";
        assert_eq!(names(page).expect("a page"), ["a&b", "b cü", "folder/"]);
        assert_eq!(names("<html><body>nothing</body></html>").expect("a page"), [""; 0]);
        assert!(names("{\"error\": \"log in\"}").is_none());
    }
}
