/** A run on a page. */
export interface Shown {
  /** The event that is shown. */
  readonly event: number;
  /** Takes it off the page. */
  close(): void;
}

/**
 * Shows a run in an element.
 *
 * @param page the text of an HTML file that `strandline replay` or `explain` wrote with `--plot FILE.html`
 * @throws Error when it holds no run, or one of another version
 */
export declare function show(element: HTMLElement, page: string): Promise<Shown>;
