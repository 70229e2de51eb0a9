//! Topic names and filters: validity, matching, and the folding that keeps the router's memory bounded.

use std::hash::{DefaultHasher, Hasher};

/// Longest topic or filter in bytes; the protocol allows 65535, nobody here needs a tenth of a KiB.
pub(crate) const MAX_BYTES: usize = 1024;

/// Whether `topic` may be published to: non-empty, short enough, no wildcards, no NUL.
pub(crate) fn is_name(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= MAX_BYTES && !topic.contains(['+', '#', '\0'])
}

/// Whether `filter` is well formed: wildcards fill whole levels and `#` comes last.
pub(crate) fn is_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.len() > MAX_BYTES || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let wildcard_ok = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            _ => !level.contains(['+', '#']),
        };
        if !wildcard_ok {
            return false;
        }
    }
    true
}

/// Whether `topic` (a valid name) matches `filter` (a valid filter).
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// The part of `filter` that every matching topic starts with.
pub(crate) fn literal_start(filter: &str) -> &str {
    let wildcard = filter.find(['+', '#']).unwrap_or(filter.len());
    let start = &filter[..wildcard];
    // `a/#` also matches `a`.
    if filter[wildcard..].starts_with('#') { start.trim_end_matches('/') } else { start }
}

/// Maps topics and filters onto a bounded set before the router sees them.
///
/// The router remembers every distinct topic and filter for ever, and topics such as
/// `up/res/{id}` are new each time. So the levels that name owner and direction are kept, the next
/// [`FOLDED_LEVELS`] become one of [`BUCKETS`] names each, and deeper ones are cut off. Whatever a filter matches,
/// its folded form matches folded; the converse does not hold, so the receiving side matches again with the real
/// topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folding {
    kept_levels: usize,
}

const FOLDED_LEVELS: usize = 2;
const BUCKETS: u64 = 32;

impl Folding {
    /// For topics `{prefix}/v1/{owner}/{direction}/...`.
    pub(crate) fn new(prefix: &str) -> Self {
        Folding { kept_levels: prefix.split('/').count() + 3 }
    }

    pub(crate) fn topic(self, topic: &str) -> String {
        self.fold(topic).join("/")
    }

    pub(crate) fn filter(self, filter: &str) -> String {
        let mut levels = self.fold(filter);
        // A cut filter has to match everything below the cut; a filter ending there already matches enough.
        if filter.split('/').count() > levels.len() && levels.last().is_none_or(|last| last != "#") {
            levels.push("#".to_owned());
        }
        levels.join("/")
    }

    fn fold(self, text: &str) -> Vec<String> {
        let fold_level = |(at, level): (usize, &str)| match level {
            "+" | "#" => level.to_owned(),
            _ if at < self.kept_levels => level.to_owned(),
            _ => bucket(level),
        };
        text.split('/').take(self.kept_levels + FOLDED_LEVELS).enumerate().map(fold_level).collect()
    }
}

fn bucket(level: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(level.as_bytes());
    format!("~{}", hasher.finish() % BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_have_no_wildcards_and_no_nul() {
        for good in ["a", "a/b", "/", "a//b", "grün/ß"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a/+", "#", "a\0b", &"x".repeat(MAX_BYTES + 1)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn wildcards_fill_whole_levels_and_hash_is_last() {
        for good in ["#", "+", "a/#", "+/+/#", "a/+/b", "/"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a#", "#/a", "a+/b", "a/#/b", "++", "a\0"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    #[test]
    fn matching_follows_the_standard() {
        for (filter, topic) in
            [("a/#", "a"), ("a/#", "a/b/c"), ("+/b", "a/b"), ("a/+", "a/"), ("#", "x/y"), ("+", "x")]
        {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [("a/+", "a"), ("a", "a/b"), ("a/b", "a"), ("+", "a/b"), ("a/#", "ab")] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn many_topics_fold_to_few() {
        let folding = Folding::new("wasmbed");
        let folded: std::collections::HashSet<_> =
            (0..10_000).map(|id| folding.topic(&format!("wasmbed/v1/pump-7/up/res/{id}/x/{id}"))).collect();
        assert!(folded.len() <= BUCKETS as usize, "{}", folded.len());
        assert_eq!(folding.topic("wasmbed/v1/pump-7/up"), "wasmbed/v1/pump-7/up");
    }

    fn level() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "c", ""]).prop_map(str::to_owned)
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => level(), 1 => Just("+".to_owned())];
        (prop::collection::vec(level, 1..9), any::<bool>()).prop_map(|(mut levels, open)| {
            if open {
                levels.push("#".to_owned());
            }
            levels.join("/")
        })
    }

    proptest! {
        #[test]
        fn folding_never_loses_a_match(
            filter in filter().prop_filter("valid", |filter| is_filter(filter)),
            topic in prop::collection::vec(level(), 1..9).prop_map(|levels| levels.join("/"))
                .prop_filter("valid", |topic| is_name(topic)),
        ) {
            let folding = Folding::new("p");
            let (folded_filter, folded_topic) = (folding.filter(&filter), folding.topic(&topic));
            prop_assert!(is_filter(&folded_filter));
            if matches(&filter, &topic) {
                prop_assert!(matches(&folded_filter, &folded_topic), "{folded_filter} {folded_topic}");
                prop_assert!(topic.starts_with(literal_start(&filter)));
            }
        }
    }
}
