//! Names for containers that were given none: an adjective and a metal, wood or stone.

const FIRST: [&str; 32] = [
    "amber", "azure", "bold", "brisk", "calm", "clear", "crisp", "deft", "eager", "even", "fair", "fleet",
    "frank", "glad", "grand", "hardy", "keen", "kind", "lucid", "mellow", "merry", "neat", "noble", "plain",
    "proud", "quick", "quiet", "rustic", "solid", "steady", "stout", "warm",
];
const SECOND: [&str; 32] = [
    "agate", "alder", "ash", "basalt", "beech", "birch", "brass", "bronze", "cedar", "chrome", "cobalt",
    "copper", "elm", "flint", "granite", "iron", "jasper", "larch", "maple", "marble", "nickel", "oak",
    "onyx", "opal", "pewter", "pine", "quartz", "slate", "steel", "tin", "walnut", "zinc",
];

/// A name from 32 random bits and the number of the try: later tries get a number of their own.
pub(crate) fn make_up(random: u32, attempt: u32) -> String {
    let (first, second) = (FIRST[(random % 32) as usize], SECOND[(random / 32 % 32) as usize]);
    match attempt {
        0 => format!("{first}_{second}"),
        _ => format!("{first}_{second}{}", (random >> 10).wrapping_add(attempt) % 100_000),
    }
}
