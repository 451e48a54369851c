/** Reads an exposition of metrics, the text for Prometheus. */

/** The lines whose metric begins with `name`, with labels and value. */
export function seriesOf(text: string, name: string): string[] {
  return text.split('\n').filter((line) => line.startsWith(name));
}

/** The value of one series, named as in the text: `name` or `name{label="value",…}`. NaN when there is none. */
export function figureOf(text: string, series: string): number {
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return Number(line?.slice(series.length));
}
