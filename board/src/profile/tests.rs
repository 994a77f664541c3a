use std::fs;

use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"
name = "mine"
title = "Mine"
header = "raspberry-pi"
chips = ["pinctrl-rp1"]

[display]
controller = "ssd1306"
size = [128, 64]
i2c = { device = "/dev/i2c-1", address = 0x3c }

[buttons.reconnect]
line = "GPIO23"

[buttons.reset]
line = { chip = "pinctrl-rp1", offset = 24 }

[led]
line = "GPIO12"
"#;

fn with(from: &str, to: &str) -> Result<Profile, ProfileError> {
    assert!(GOOD.contains(from), "{from}");
    Profile::parse("mine", &GOOD.replace(from, to))
}

fn message(from: &str, to: &str) -> String {
    with(from, to).expect_err(to).to_string()
}

#[test]
fn each_profile_of_the_program_is_good_and_goes_by_its_file_name() {
    for (name, text) in EMBEDDED {
        let profile = Profile::parse(name, text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(profile.name, *name);
        assert!(pin_table(&profile).starts_with(name));
        for claim in pins::claims(&profile) {
            // On a known header each line is one of its pins.
            let known = wiring(&profile).iter().any(|p| p.line == claim.line && p.number.is_some());
            assert_eq!(known, profile.header.is_some(), "{name}: {}", claim.line);
        }
    }
    assert_eq!(Profile::all().len(), EMBEDDED.len());
    let on_disk = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/profiles")).unwrap().count();
    assert_eq!(on_disk, EMBEDDED.len(), "a file in profiles/ is not part of the program");
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let text = Profile::named("rasberry").unwrap_err().to_string();
    assert!(
        text.contains("`rasberry`") && text.contains("`raspberry-pi`") && text.contains("`none`"),
        "{text}"
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let text = message("controller =", "conroller =");
    assert!(text.contains("conroller") && text.contains("line 8"), "{text}");
    assert!(message("[buttons.reset]", "[buttons.rest]").contains("rest"));
    assert!(message("address = 0x3c", "adress = 0x3c").contains("adress"));
    assert!(message("line = \"GPIO23\"", "line = 23").contains("a line is a name"));
}

#[test]
fn a_pin_used_twice_names_both_parts_however_it_is_written() {
    let text = message("line = \"GPIO23\"", "line = \"GPIO24\"");
    assert!(
        text.contains("GPIO24") && text.contains("button reconnect") && text.contains("button reset"),
        "{text}"
    );
    let text = message("line = \"GPIO12\"", "line = \"GPIO3\"");
    assert!(text.contains("display SCL") && text.contains("LED"), "{text}");
}

#[test]
fn values_that_cannot_be_say_what_can() {
    for (from, to, key, hint) in [
        ("[128, 64]", "[128, 128]", "display.size", "[128, 32]"),
        ("0x3c", "0x3", "display.i2c.address", "0x08"),
        ("line = \"GPIO23\"", "line = \"GPIO23\"\ndebounce_ms = 0", "buttons.reconnect.debounce_ms", "200"),
        ("line = \"GPIO12\"", "", "led", "kernel"),
        ("line = \"GPIO12\"", "line = \"GPIO12\"\nkernel = \"ACT\"", "led", "not both"),
        ("line = \"GPIO12\"", "kernel = \"../../etc\"", "led.kernel", "/sys/class/leds"),
        ("size = [128, 64]", "size = [128, 64]\nrotation = 90", "display.rotation", "180"),
        ("size = [128, 64]", "size = [128, 64]\noffset = [2, 0]", "display.offset", "[0, 0]"),
        ("\"ssd1306\"", "\"sim\"", "display.controller", "kind"),
        ("\"ssd1306\"\nsize = [128, 64]", "\"st7789\"\nsize = [240, 240]", "display.i2c", "SPI"),
        ("title = \"Mine\"", "title = \"Mine\"\nkind = \"none\"", "display", "no parts"),
        ("i2c = { device = \"/dev/i2c-1\", address = 0x3c }", "", "display", "i2c = "),
    ] {
        let text = message(from, to);
        assert!(text.contains(&format!("mine: {key}: ")) && text.contains(hint), "{to}: {text}");
    }
}

#[test]
fn auto_goes_by_the_device_tree() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model");
    for (model, name) in [
        ("Raspberry Pi Zero 2 W Rev 1.0\0", "raspberry-pi"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3\0", "raspberry-pi"),
        ("Raspberry Pi 4 Model B Rev 1.5\0", "raspberry-pi"),
        ("Raspberry Pi 5 Model B Rev 1.0\0", "raspberry-pi"),
        ("Xunlong Orange Pi Zero 3\0", "none"),
        ("", "none"),
    ] {
        fs::write(&file, model).unwrap();
        let chosen = choose("auto", &file).unwrap();
        assert_eq!(chosen.profile.name, name, "{model}");
        assert!(chosen.why.contains("KURIR_BOARD") && chosen.why.contains(model.trim_end_matches('\0')));
    }
    let chosen = choose("auto", &folder.path().join("nothing")).unwrap();
    assert_eq!(chosen.profile.name, "none");
    assert!(chosen.why.contains("sim"), "{}", chosen.why);
}

#[test]
fn a_profile_is_loaded_from_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, GOOD).unwrap();
    let model = Path::new("/nonexistent");
    assert_eq!(choose(&file.display().to_string(), model).unwrap().profile.name, "mine");
    let text = choose("/nonexistent/mine.toml", model).unwrap_err().to_string();
    assert!(text.contains("/nonexistent/mine.toml") && text.contains("KURIR_BOARD"), "{text}");
    fs::write(&file, "name = ").unwrap();
    let text = choose(&file.display().to_string(), model).unwrap_err().to_string();
    assert!(text.contains("mine.toml"), "{text}");
}

#[test]
fn the_pin_table_tells_what_to_solder_and_what_to_configure() {
    let table = pin_table(&Profile::named("raspberry-pi").unwrap());
    for row in [
        "1  3.3 V   display VCC",
        "3  GPIO2   display SDA",
        "5  GPIO3   display SCL",
        "6  ground  display GND",
        "16  GPIO23  button reconnect",
        "18  GPIO24  button reset",
        "32  GPIO12  LED",
        "needs in /boot/firmware/config.txt: dtparam=i2c_arm=on",
    ] {
        assert!(table.contains(row), "{row} is missing in\n{table}");
    }
    let bonnet = pin_table(&Profile::named("adafruit-oled-bonnet").unwrap());
    assert!(
        bonnet.contains("29  GPIO5  button reconnect (printed #5)") && !bonnet.contains("VCC"),
        "{bonnet}"
    );
}

#[test]
fn a_line_name_is_also_an_offset_where_the_chip_is_known() {
    let profile = Profile::parse("mine", GOOD).unwrap();
    let wirings = profile.button_wirings();
    assert_eq!(wirings[0].line.name.as_deref(), Some("GPIO23"));
    assert_eq!(wirings[0].line.offset, Some(23));
    assert_eq!(wirings[1].line.name, None);
    let generic = with("chips = [\"pinctrl-rp1\"]", "").unwrap();
    assert_eq!(
        generic.button_wirings()[0].line.offset,
        None,
        "a name alone says nothing about an unknown chip"
    );
}

proptest! {
    /// No text, however wrong, does anything but parse or fail with the origin's name.
    #[test]
    fn any_text_parses_or_is_refused_by_name(cut in 0..GOOD.len(), insert in "[ -~\n]{0,12}") {
        let text = format!("{}{insert}{}", &GOOD[..cut], &GOOD[cut..]);
        if let Err(e) = Profile::parse("mine", &text) {
            prop_assert!(e.to_string().contains("mine"), "{}", e);
        }
    }
}

#[test]
fn the_page_for_people_has_the_table_of_each_profile() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hardware.md")).unwrap();
    for profile in Profile::all() {
        let table = pin_table(&profile);
        assert!(page.contains(&table), "run `cargo run -p kurir-board --example boards` for\n{table}");
    }
}
