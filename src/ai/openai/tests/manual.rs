use super::*;

#[test]
fn who_finds_no_turns_is_told_of_them_by_the_box_and_answers_each() {
    let mut stage = Stage::ready("turn_detection = 'none'");
    let at = stage.desk.now;
    stage.tell(Command::CallerStopped { at });
    assert_eq!(stage.kinds(), ["input_audio_buffer.commit", "response.create"]);
    stage.says([created("r"), sound("r", "i", &[1; 80])]);
    stage.tell(Command::CallerBegan { at });
    assert_eq!(stage.kinds(), ["response.cancel"]);
    stage.tell(Command::CallerStopped { at });
    assert_eq!(stage.kinds(), ["input_audio_buffer.commit"], "no second answer beside the first");
    stage.says([over("r", "cancelled")]);
    assert_eq!(stage.kinds(), ["response.create"]);
}

#[test]
fn who_finds_turns_is_not_told() {
    let mut stage = Stage::ready("");
    let at = stage.desk.now;
    stage.says([created("r"), sound("r", "i", &[1; 80])]);
    stage.tell(Command::CallerBegan { at });
    stage.tell(Command::CallerStopped { at });
    assert_eq!(stage.done(), []);
}
