//! Statements and what they do.

use super::shop::short;

#[test]
fn explore() {
    for sql in include_str!("/tmp/smoke.txt").lines().filter(|l| !l.is_empty()) {
        println!("{sql}\n    {}", short(&sql.replace("\\n","\n").replace("\\r","\r")));
    }
}
