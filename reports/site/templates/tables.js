// The table can be read without this: what it adds are sorting and filtering, by DataTables.
const code = Uint8Array.from(atob({{ code }}), (sign) => sign.charCodeAt(0));
const place = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
import(place).then(({ jQuery }) => {
  jQuery("#all").DataTable({
    paging: false, info: true, order: [], autoWidth: false,
    language: { search: "Filter, by any words:", info: "_TOTAL_ numbers", infoEmpty: "no numbers", infoFiltered: "of _MAX_" },
  });
});
