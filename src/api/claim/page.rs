//! The pages at `/`: plain HTML in Indonesian and English, without scripts and without anything from outside.

use crate::api::page::{FOOT, HEAD, escaped};

/// The claim's form. `message`: what was wrong with the last attempt.
pub(super) fn form(message: Option<&str>) -> String {
    let message = message.map(|m| format!("<p class=\"error\" role=\"alert\">{}</p>\n", escaped(m)));
    format!(
        "{HEAD}{}<p>Kotak ini belum punya pemilik. Ketik kode yang tampil di layarnya dan pilih kata sandi.<br>\n\
         <span class=\"en\">This box has no owner yet. Type the code on its screen and choose a password.</span></p>\n\
         <form method=\"post\" action=\"/api/v1/claim\">\n\
         <label>Kode <span class=\"en\">/ Code</span><input name=\"code\" required maxlength=\"20\" autocomplete=\"off\" \
         autocapitalize=\"characters\" spellcheck=\"false\" placeholder=\"XXXX-XXXX\"></label>\n\
         <label>Kata sandi, minimal {min} huruf <span class=\"en\">/ Password, {min} characters or more</span>\
         <input name=\"password\" type=\"password\" required minlength=\"{min}\" maxlength=\"{max}\" \
         autocomplete=\"new-password\"></label>\n\
         <button>Jadikan milik saya <span class=\"en\">/ Make it mine</span></button></form>\n{FOOT}",
        message.unwrap_or_default(),
        min = super::password::MIN,
        max = super::password::MAX,
    )
}

/// The claim succeeded.
pub(super) fn claimed(key: &str) -> String {
    format!(
        "{HEAD}<p>Kotak ini sekarang milik Anda. Ini kunci API administrator; simpan baik-baik, tidak akan tampil lagi.\
         <br>\n<span class=\"en\">This box is yours now. This is the administrator's API key; keep it safe, it is shown \
         only once.</span></p>\n<p><code>{}</code></p>\n\
         <p>Aplikasi mengirimnya di header <code>X-API-Key</code>.<br>\n\
         <span class=\"en\">Applications send it in the header <code>X-API-Key</code>.</span></p>\n{FOOT}",
        escaped(key)
    )
}

/// The box has an owner.
pub(super) fn running() -> String {
    format!(
        "{HEAD}<p>Kotak ini berjalan dan sudah punya pemilik. Aplikasi memakai API-nya dengan kunci.<br>\n\
         <span class=\"en\">This box is running and has an owner. Applications use its API with a key.</span></p>\n\
         <p><a href=\"/docs\">API</a> · <a href=\"/update\">Pembaruan <span class=\"en\">/ Update</span></a></p>\n{FOOT}"
    )
}

/// Nobody has a key, and nobody outside can reach the box.
pub(super) const LOCAL: &str = "<!doctype html>\n<html lang=\"id\"><head><meta charset=\"utf-8\">\
    <title>Kurir</title></head><body><h1>Kurir</h1>\n\
    <p>Belum ada kunci API. Buat satu dengan <code>kurir key new --name NAMA --admin</code>.</p>\n\
    <p lang=\"en\">No API key exists yet. Make one: <code>kurir key new --name NAME --admin</code>.</p></body></html>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_load_nothing_and_repeat_nothing_as_markup() {
        for page in
            [form(None), form(Some("<script>x</script>\"'&")), claimed("kurir_x"), running(), LOCAL.into()]
        {
            assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
            for outside in ["http://", "https://", "src=", "<script", "url("] {
                assert!(!page.contains(outside), "{outside} in {page}");
            }
        }
        assert!(form(Some("<b>")).contains("&lt;b&gt;"));
    }
}
