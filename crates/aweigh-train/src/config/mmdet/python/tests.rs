use serde_json::json;

use super::*;

#[test]
fn data_is_read() {
    let check = |text: &str, expected: Value| {
        let read = parse(&format!("x = {text}")).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        assert_eq!(read["x"], expected, "{text}");
    };
    check("1_000", json!(1000));
    check("0x1F", json!(31));
    check("-1e-3", json!(-0.001));
    check(".5", json!(0.5));
    check("1.", json!(1.0));
    check("1e8", json!(1e8));
    check("(1333, 800)", json!([1333, 800]));
    check("(1, )", json!([1]));
    check("()", json!([]));
    check("(2)", json!(2));
    check("[True, False, None,]", json!([true, false, null]));
    check(
        "dict(a=1, b=dict(c=[2.5]),)",
        json!({"a": 1, "b": {"c": [2.5]}}),
    );
    check("{'a.b': 1, 2: 'c'}", json!({"a.b": 1, "2": "c"}));
    check("range(0, 3)", json!([0, 1, 2]));
    check("dict(\n    a=1,  # why\n    b=2)", json!({"a": 1, "b": 2}));
    check("1 + \\\n    2", json!(3));
}

#[test]
fn strings_are_read_as_in_python() {
    let check = |text: &str, expected: &str| {
        assert_eq!(parse(&format!("x = {text}")).expect(text)["x"], expected);
    };
    check("'it\\'s'", "it's");
    check("\"a'b\"", "a'b");
    check("'a' \"b\" 'c'", "abc");
    check("'a' + 'b'", "ab");
    check("r'\\d\\''", "\\d\\'");
    check("'''two\nlines'''", "two\nlines");
    check("'\\x41\\u00e9\\n\\\\'", "A\u{e9}\n\\");
    check("'# no comment'", "# no comment");
    check("''", "");
}

#[test]
fn numbers_are_calculated_as_in_python() {
    let check = |text: &str, expected: Value| {
        assert_eq!(parse(&format!("x = {text}")).expect(text)["x"], expected);
    };
    check("16 * 2", json!(32));
    check("1.0 / 3", json!(1.0 / 3.0));
    check("4 / 2", json!(2.0));
    check("7 // 2 - -7 // 2", json!(7));
    check("2 + 3 * 4", json!(14));
    check("(2 + 3) * 4", json!(20));
    check("0.02 / 16 * 8", json!(0.02 / 16.0 * 8.0));
    check("[1] + [2] * 2", json!([1, 2, 2]));
}

#[test]
fn names_are_those_of_earlier_lines() {
    let text = "base = 0.01\nnorm = dict(type='BN')\nbase = base * 2\nx = dict(lr=base, n=norm)\n";
    let names = parse(text).expect("data");
    assert_eq!(names["x"], json!({"lr": 0.02, "n": {"type": "BN"}}));
}

#[test]
fn what_is_no_data_is_refused_with_its_line() {
    let check = |text: &str, line: usize, message: &str| {
        let error = parse(text).expect_err(text);
        assert_eq!(
            (error.line, error.message.as_str()),
            (line, message),
            "{text}"
        );
    };
    let assignment = "expected an assignment `name = value`";
    check(
        "a = 1\nimport os",
        2,
        &format!("found `import`; {assignment}"),
    );
    check("a.b = 1", 1, "found `.`, which is not read here");
    check("'''text'''", 1, &format!("found a string; {assignment}"));
    check(
        "a = open('x')",
        1,
        "found a call of `open`; only `dict` and `range` are known",
    );
    check(
        "a = [x for x in y]",
        1,
        "found `x`, which no line before assigns",
    );
    check("a = 1\n\nb = [\n  1\n  2]", 5, "found `2`; expected `,`");
    check("a = 1 2", 1, "found `2`; expected the end of the line");
    check("a = (1,\n2", 2, "found the end of the text; expected `,`");
    check(
        "a =\nb = 1",
        1,
        "found the end of the line; expected a value",
    );
    check("a = 'x\n'", 1, "found a string that does not end");
    check("a = f'x'", 1, "found a string that begins with `f`");
    check("a = 2 ** 3", 1, "found `**`, which is not read here");
    check("a = 1 / 0", 1, "found `/` between a number and a number");
    check("a = 'x' * 2", 1, "found `*` between a string and a number");
    check("a = -'x'", 1, "found `-` before a string");
    check("a = 1j", 1, "found `1j`; expected a number of 64 bits");
    check(
        "a = 99999999999999999999",
        1,
        "found `99999999999999999999`; expected a number of 64 bits",
    );
    check("a = dict(b=1, b=2)", 1, "found the key `b` twice");
    check(
        "a = dict(1)",
        1,
        "found `1`; expected a keyword argument or `)`",
    );
    check("a = {1}", 1, "found `}`; expected `:`");
    check(
        "a = lambda: 1",
        1,
        "found `lambda`, which no line before assigns",
    );
}

#[test]
fn huge_data_is_refused() {
    let check = |text: &str, part: &str| {
        let message = parse(text).expect_err(part).message;
        assert!(message.contains(part), "{message}");
    };
    check(
        &format!("a = {}", "[".repeat(100_000)),
        "64 values in one another",
    );
    check(
        &format!("a = {}1", "-".repeat(100_000)),
        "64 values in one another",
    );
    check(&"a = 1\n".repeat(200_000), "1200000 bytes");
    check("a = range(1000000000000)", "values and letters");
    check("a = [0] * 1000000000000", "values and letters");
    let doubled = "a = a + a\n".repeat(60);
    check(&format!("a = 'ab'\n{doubled}"), "values and letters");
    check(&format!("a = [0]\n{doubled}"), "values and letters");
}
