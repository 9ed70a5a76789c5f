// Whether the next composer that appears takes the focus. Only an act of the user in this tab allows it: opening the page,
// signing in, opening a channel. A composer that appears for another reason must not receive keys meant for something else.
let allowed = true;

export const allowFocus = () => (allowed = true);
export const forbidFocus = () => (allowed = false);

/** Whether to take the focus; only the first call after an act of the user returns true. */
export function takeFocus() {
  const answer = allowed;
  allowed = false;
  return answer;
}
