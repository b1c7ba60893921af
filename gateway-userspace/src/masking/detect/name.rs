//! Columns by name.

/// What dates of birth are called, without separators.
const BIRTH_DATES: &[&str] = &[
    "dob",
    "dateofbirth",
    "birthdate",
    "birthday",
    "bornon",
    "borndate",
    "birthdt",
    "geburtsdatum",
    "gebdatum",
    "datenaissance",
    "datedenaissance",
    "fechanacimiento",
    "fechadenacimiento",
    "datanascita",
    "datadinascita",
    "datanascimento",
    "geboortedatum",
    "dataurodzenia",
];

/// True if a column of this name holds dates of birth.
pub fn is_birth_date(name: &str) -> bool {
    let words: Vec<String> = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    // Whatever stands before, as in `customer_dob`, and `at` or the like behind.
    (0..words.len()).any(|from| {
        (from + 1..=words.len()).any(|to| {
            let joined: String = words.get(from..to).unwrap_or_default().concat();
            BIRTH_DATES.contains(&joined.as_str())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::is_birth_date;

    #[test]
    fn names_of_dates_of_birth() {
        for name in [
            "dob",
            "DOB",
            "birth_date",
            "date_of_birth",
            "BirthDate",
            "customer_dob",
            "patient_date_of_birth_utc",
            "geburtsdatum",
            "fecha_de_nacimiento",
        ] {
            assert!(is_birth_date(name), "{name}");
        }
        for name in [
            "",
            "date",
            "updated",
            "adobe",
            "birthplace",
            "dobermann",
            "created_on",
        ] {
            assert!(!is_birth_date(name), "{name}");
        }
    }
}
