import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

export interface Series {
  readonly label: string;
  readonly points: readonly (number | null)[];
}

/** Of the lines of one plot: told apart by their dashes too. */
const strokes = ['--line-a', '--line-b', '--line-c'];
const dashes: readonly number[][] = [[], [4, 3], [1, 3]];

const incrs = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** Hours and minutes here, of a Unix time in seconds. */
const clock = (seconds: number): string => {
  const at = new Date(seconds * 1000);
  return [at.getHours(), at.getMinutes()].map((n) => String(n).padStart(2, '0')).join(':');
};

/** A small plot of the last hour; the newest values stand in its title for everybody. */
export function Graph({
  title,
  times,
  series,
  show,
  binary = false,
}: {
  title: string;
  times: readonly number[];
  series: readonly Series[];
  show: (n: number) => string;
  /** Ticks at powers of two, as bytes are shown. */
  binary?: boolean;
}) {
  // What was drawn keeps the colours that it was drawn with.
  const scheme = useComputedColorScheme();
  const place = useRef<HTMLDivElement>(null);
  const measured = series.some((s) => s.points.some((p) => p !== null));
  const newest = series.map((s) => {
    const value = s.points.findLast((p) => p !== null);
    return `${series.length > 1 ? `${s.label} ` : ''}${value === undefined || value === null ? 'not measured' : show(value)}`;
  });
  useEffect(() => {
    const element = place.current;
    if (element === null || !measured) return;
    const styles = getComputedStyle(element);
    const colour = (name: string): string => styles.getPropertyValue(name).trim();
    const axis = {
      stroke: colour('--dim'),
      grid: { stroke: colour('--line'), width: 1 },
      ticks: { show: false },
      font: '11px system-ui',
    };
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: 130,
        legend: { show: false },
        cursor: { y: false },
        scales: { y: { range: (_u, _min, max) => [0, Math.max(max ?? 0, 0.001) * 1.15] } },
        axes: [
          { ...axis, space: 70, values: (_u, ticks) => ticks.map(clock) },
          { ...axis, size: 70, values: (_u, ticks) => ticks.map(show), space: 34, ...(binary && { incrs }) },
        ],
        series: [
          {},
          ...series.map((s, i) => ({
            label: s.label,
            stroke: colour(strokes[i] ?? '--dim'),
            width: 1.5,
            ...(i === 0 ? { fill: colour('--fill-a') } : { dash: dashes[i] ?? [] }),
            points: { show: false },
          })),
        ],
      },
      [[...times], ...series.map((s) => [...s.points])] as uPlot.AlignedData,
      element,
    );
    const watch = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: 130 }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [times, series, show, binary, measured, scheme]);
  return (
    <figure className="graph">
      <figcaption>
        {title} <span className="dim">{measured ? newest.join(', ') : 'nothing measured yet'}</span>
      </figcaption>
      <div ref={place} aria-hidden="true" />
    </figure>
  );
}
