// The colours of the style sheet, for what is drawn on a canvas.

/** A colour of the present appearance by the name of its token, as "rgb(…)". */
export function colour(token) {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** The same colour with an opacity from 0 to 1. */
export function faded(rgb, opacity) {
  return rgb.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
}
